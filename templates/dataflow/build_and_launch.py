r"""Build the image and the two templates, and launch one of them; without --yes, say what would be done.

  python templates/dataflow/build_and_launch.py --project my-project --region europe-west4 --bucket my-bucket \
      inputs=gs://my-bucket/videos/ output=gs://my-bucket/annotations machine_type=g2-standard-16 \
      'accelerator=type:nvidia-l4;count:1;install-nvidia-driver:5xx' device=cuda

It needs docker and gcloud. With --streaming the other template is launched.
"""

import argparse
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
METADATA = {False: HERE / "metadata.json", True: HERE / "metadata-streaming.json"}


def commands(options: argparse.Namespace, values: dict[str, str]) -> list[list[str]]:
    """What is run, one after the other."""
    template = f"gs://{options.bucket}/templates/mmeg{'-streaming' if options.streaming else ''}.json"
    place = ["--project", options.project, "--region", options.region]
    build = [
        ["docker", "build", "--tag", options.image, "--file", str(HERE / "Dockerfile"), str(HERE.parents[1])],
        ["docker", "push", options.image],
        ["gcloud", "dataflow", "flex-template", "build", template, "--project", options.project,
         "--image", options.image, "--sdk-language", "PYTHON", "--metadata-file", str(METADATA[options.streaming])],
    ]  # fmt: skip
    launch = ["gcloud", "dataflow", "flex-template", "run", job_name(values["output"]), *place,
              "--template-file-gcs-location", template,
              "--temp-location", f"gs://{options.bucket}/temp", "--staging-location", f"gs://{options.bucket}/staging",
              "--parameters", f"^~^{'~'.join(f'{name}={value}' for name, value in values.items())}"]  # fmt: skip
    return [*([] if options.launch_only else build), launch]


def job_name(output: str) -> str:
    """One for each output: Dataflow refuses a second job of a name while the first is active."""
    return f"mmeg-{hashlib.sha256(output.rstrip('/').encode()).hexdigest()[:12]}"


def problems(metadata: dict[str, Any], values: dict[str, str]) -> list[str]:
    """What Dataflow would refuse about the parameters, in words."""
    known = {parameter["name"]: parameter for parameter in metadata["parameters"]}
    found = [f"there is no parameter {name}" for name in values if name not in known]
    for name, parameter in known.items():
        value = values.get(name)
        choices = [option["value"] for option in parameter.get("enumOptions", ())]
        if parameter["paramType"] == "BOOLEAN":
            choices = ["true", "false"]
        if value is None:
            if not parameter["isOptional"] and "defaultValue" not in parameter:
                found.append(f"{name} is missing: {parameter['helpText']}")
        elif not all(re.fullmatch(regex, value) for regex in parameter.get("regexes", ())):
            found.append(f"{name}={value} does not fit: {parameter['helpText']}")
        elif choices and value not in choices:
            found.append(f"{name}={value} is none of {', '.join(choices)}")
        elif "~" in value:
            found.append(f"{name}={value}: a ~ ends a parameter here; put such names into a manifest")
    return found


def clashes(values: dict[str, str], *, streaming: bool) -> list[str]:
    """What the launcher would refuse about parameters that fit one by one, in words."""
    found = []
    if values.get("key_column") and not values.get("bytes_column"):
        found.append("key_column is about Parquet shards: name the column of their videos by bytes_column")
    if streaming and bool(values.get("inputs")) == bool(values.get("subscription")):
        found.append("a stream needs either inputs, which are looked at again and again, or a subscription")
    return found


def repeated(parameters: Sequence[str]) -> list[str]:
    """The names that are given more than once, of which all but one value would be lost, in words."""
    counts = Counter(parameter.partition("=")[0] for parameter in parameters)
    how = {"inputs": ", with commas between the videos"}
    return [
        f"{name} is given {count} times: give it once{how.get(name, '')}"
        for name, count in counts.items()
        if count > 1
    ]


def bucket_name(text: str) -> str:
    """The bucket that is meant by its name or by its address."""
    return text.removeprefix("gs://").rstrip("/")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True, help="where workers run, and the videos lie")
    parser.add_argument(
        "--bucket",
        required=True,
        type=bucket_name,
        help="for the template and temporary files: bkt or gs://bkt",
    )
    parser.add_argument("--image", help="default: REGION-docker.pkg.dev/PROJECT/mmeg/mmeg:latest")
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--launch-only", action="store_true", help="image and template are there already")
    parser.add_argument("--yes", action="store_true", help="do it, and do not only say it")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="as in metadata.json")
    options = parser.parse_args(arguments)
    options.image = options.image or f"{options.region}-docker.pkg.dev/{options.project}/mmeg/mmeg:latest"
    given = dict(parameter.partition("=")[::2] for parameter in options.parameters)
    metadata = json.loads(METADATA[options.streaming].read_text(encoding="utf-8"))
    defaults = {
        parameter["name"]: parameter["defaultValue"]
        for parameter in metadata["parameters"]
        if not parameter["isOptional"] and "defaultValue" in parameter
    }
    values = {"sdk_container_image": options.image, **defaults, **given}
    refused = [
        *repeated(options.parameters),
        *problems(metadata, values),
        *clashes(values, streaming=options.streaming),
    ]
    if refused:
        parser.error("; ".join(refused))
    for command in commands(options, values):
        print(shlex.join(command), flush=True)
        if options.yes:
            subprocess.run(command, check=True)  # noqa: S603 - what was just shown
    if not options.yes:
        print("nothing was done; --yes does it", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
