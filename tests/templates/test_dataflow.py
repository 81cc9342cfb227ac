"""The files in templates/dataflow say what is so: parameters, versions, paths and commands."""

import argparse
import bisect
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from mmeg_model.clip import FRAME_MS
from pipelines.annotate_command import parse
from pipelines.dataflow_launch import INPUTS, OF_STREAMS, SWITCHES, flags_of
from pipelines.options import AnnotateOptions
from pipelines.runners import BATCH_SIZES
from pipelines.slices import BYTES_PER_SHARD, CLUSTER_SLICES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "templates" / "dataflow"
BATCH, STREAM = "metadata.json", "metadata-streaming.json"
BEAMS = {"sdk_container_image", "machine_type", "max_num_workers"}
"""Parameters that are Beam's own flags, under their names there."""
ON_ONE_MACHINE = {"plan_only", "metrics_json", "cluster_deadline_seconds"}
"""Flags that no template takes: what a launch would do is known when its job is there; Dataflow shows metrics itself."""
WITH_AN_END = {"limit", "retry_failed", "replace_changed", "slice_videos", "slice_bytes"}
VALID = {
    "inputs": "gs://b/videos/, gs://b/list.csv",
    "output": "gs://bucket/annotations",
    "sdk_container_image": "europe-docker.pkg.dev/p/mmeg/mmeg:V1.0_rc@sha256:" + "0123456789abcdef" * 4,
    "bytes_column": "video.bytes",
    "key_column": "key",
    "bundle": "/opt/my-bundle",
    "accelerator": "type:nvidia-l4;count:1;install-nvidia-driver:5xx",
    "machine_type": "g2-standard-16",
    "subscription": "projects/my-project/subscriptions/s",
    "tasks": "gender",
    "device": "cuda",
    "retry_failed": "true",
    "replace_changed": "false",
    "window_seconds": "2.4",
    "poll_seconds": "10",
    "decode_deadline_seconds": "60.5",
}
"""The others are whole numbers."""
INVALID = {"inputs": "videos/", "output": "gs://", "subscription": "projects/p/subscriptions/s", "tasks": "mood", "device": "gpu", "bundle": "mine",
           "sdk_container_image": "Not An Image", "accelerator": "nvidia-l4", "machine_type": "16 cores",
           "retry_failed": "yes", "replace_changed": "1", "window_seconds": "-1", "poll_seconds": "soon",
           "decode_deadline_seconds": "1e3"}  # fmt: skip


def metadata(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def parameters(name: str) -> dict[str, dict[str, Any]]:
    return {parameter["name"]: parameter for parameter in metadata(name)["parameters"]}


def valid(name: str) -> dict[str, str]:
    return {each: VALID.get(each, "7") for each in parameters(name)}


def own_flags() -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    AnnotateOptions._add_argparse_args(parser)
    return {action.dest: action for action in parser._actions}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_and_launch", FOLDER / "build_and_launch.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_flag_is_a_parameter_and_no_other() -> None:
    flags = set(own_flags()) - ON_ONE_MACHINE
    assert set(parameters(BATCH)) == flags - set(OF_STREAMS) | {INPUTS} | BEAMS
    assert set(parameters(STREAM)) == flags - WITH_AN_END | {INPUTS} | BEAMS
    assert set(PipelineOptions([]).get_all_options()) >= BEAMS


@pytest.mark.parametrize("name", [BATCH, STREAM])
def test_defaults_choices_and_kinds_are_those_of_the_flags(name: str) -> None:
    flags = own_flags()
    for parameter in parameters(name).values():
        assert parameter["label"]
        assert parameter["helpText"].endswith(".")
        action = flags.get(parameter["name"])
        if action is None:
            continue
        default = parameter.get("defaultValue")
        if parameter["name"] in SWITCHES:
            assert (parameter["paramType"], default, action.default) == ("BOOLEAN", "false", False)
        elif parameter["name"] == "poll_seconds":
            assert float(default) == action.default
        elif action.default is None:
            assert default is None, parameter
        else:
            assert default == str(action.default), parameter
        choices = [option["value"] for option in parameter.get("enumOptions", ())]
        assert choices == list(action.choices or ()), parameter


def test_defaults_that_are_told_in_words_are_right() -> None:
    of_batch = parameters(BATCH)
    assert f"Default: {CLUSTER_SLICES.num_videos} videos." in of_batch["slice_videos"]["helpText"]
    assert f"Default: {CLUSTER_SLICES.num_bytes} bytes" in of_batch["slice_bytes"]["helpText"]
    assert f"one for each {BYTES_PER_SHARD} bytes" in of_batch["num_shards"]["helpText"]
    words = f"Default: {BATCH_SIZES['cpu']}, with an accelerator {BATCH_SIZES['cuda']}."
    assert words in of_batch["batch_size"]["helpText"]


@pytest.mark.parametrize("name", [BATCH, STREAM])
def test_what_the_template_lets_through_the_launcher_understands(name: str, script: ModuleType) -> None:
    values = valid(name)
    assert script.problems(metadata(name), values) == []
    given = [f"--{each}={value}" for each, value in values.items()]
    inputs, options = parse(flags_of([*given, "--runner=DataflowRunner"]))
    assert inputs == ["gs://b/videos/", "gs://b/list.csv"]
    understood = options.get_all_options()
    for each in set(values) - {INPUTS, *SWITCHES}:
        assert str(understood[each]).removesuffix(".0") == values[each], each
    if name == BATCH:
        assert (understood["retry_failed"], understood["replace_changed"]) == (True, False)
    assert understood["streaming"] is (name == STREAM)


@pytest.mark.parametrize("name", [BATCH, STREAM])
def test_what_does_not_fit_is_refused_by_its_pattern(name: str, script: ModuleType) -> None:
    good = valid(name)
    for each in set(good) - {"bytes_column", "key_column"}:
        (problem,) = script.problems(metadata(name), good | {each: INVALID.get(each, "0")})
        assert problem.startswith(f"{each}={INVALID.get(each, '0')} ")


def takes(flag: argparse.Action, value: str) -> bool:
    try:
        assert callable(flag.type)
        flag.type(value)
    except argparse.ArgumentTypeError:
        return False
    return True


def largest(flag: argparse.Action) -> int:
    """The largest whole number that the flag takes."""
    return bisect.bisect_left(range(1, 1 << 63), True, key=lambda number: not takes(flag, str(number)))


@pytest.mark.parametrize("name", [BATCH, STREAM])
def test_ranges_are_those_of_the_flags(name: str, script: ModuleType) -> None:
    data, good, flags = metadata(name), valid(name), own_flags()
    for each in set(good) & {dest for dest, flag in flags.items() if flag.type}:
        flag, most = flags[each], largest(flags[each])
        digits = [10**i for i in range(len(str(most)))]
        around = {s + k * d for d in digits for k in range(-9, 10) for s in (0, most, most - most % d)}
        values = [str(number) for above in around for number in (above - 1, above) if number >= 0]
        if takes(flag, "0.04"):
            values += ["0.0", "0.00", "0.04", "0.4", "0.96", f"{most - 1}.08", f"{most}.0", f"{most}.04"]
        refused = {value for value in values if script.problems(data, good | {each: value})}
        assert refused == {value for value in values if not takes(flag, value)}, each
        assert {"0", str(most + 1)} <= refused, each
        assert not {"1", str(most)} & refused, each
        assert re.search(rf"[Uu]p to {most}\.$|From 1 to {most}\.$", parameters(name)[each]["helpText"]), each


@pytest.mark.parametrize("name", [BATCH, STREAM])
def test_clips_are_multiples_of_a_frame(name: str, script: ModuleType) -> None:
    data, good = metadata(name), valid(name)
    for ms in range(5, 4000, 5):
        for value in (f"{ms / 1000}", f"{ms / 1000:.3f}"):
            assert bool(script.problems(data, good | {"window_seconds": value})) == bool(ms % FRAME_MS), value


@pytest.mark.parametrize("name", [BATCH, STREAM])
def test_images_are_named_as_docker_names_them(name: str, script: ModuleType) -> None:
    data, good = metadata(name), valid(name)
    legal = ["europe-docker.pkg.dev/p/mmeg/mmeg:V1", "localhost:5000/my_mmeg", "mmeg:_" + "X" * 127]
    illegal = ["mmeg:" + "X" * 129, "mmeg:.V1", "Mmeg:v1", "pkg.dev/P/mmeg", "mmeg@sha256:0123", "mmeg:a:b"]
    refused = [it for it in legal + illegal if script.problems(data, good | {"sdk_container_image": it})]
    assert refused == illegal


def test_the_script_shows_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    command = [sys.executable, FOLDER / "build_and_launch.py", "--project", "p", "--region", "europe-west4", "--bucket", "b",
               "inputs=gs://b/v/,gs://b/w/", "output=gs://bucket/out/"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "nothing was done; --yes does it\n"
    build, push, template, launch = done.stdout.splitlines()
    image = "europe-west4-docker.pkg.dev/p/mmeg/mmeg:latest"
    assert build == f"docker build --tag {image} --file {FOLDER}/Dockerfile {ROOT}"
    assert push == f"docker push {image}"
    assert f"--image {image} --sdk-language PYTHON --metadata-file {FOLDER}/metadata.json" in template
    assert re.search(r"flex-template run mmeg-[0-9a-f]{12} --project p --region europe-west4", launch)
    assert f"'^~^sdk_container_image={image}~inputs=gs://b/v/,gs://b/w/~output=gs://bucket/out/'" in launch


PLACE, OUTPUT = ["--project", "p", "--region", "r", "--bucket", "b"], "output=gs://bkt/out"
VIDEOS, NEW_VIDEOS = "inputs=gs://b/v/", "subscription=projects/my-project/subscriptions/s"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "Names with commas go into a manifest.\n"),  # the help of inputs, and no word of streams
        ([VIDEOS, "bundle=mine"], "bundle=mine does not fit"),
        ([VIDEOS, "num_shards=999999999"], "num_shards=999999999 does not fit: Files for each table"),
        ([VIDEOS, "speed=9"], "there is no parameter speed"),
        (["inputs=gs://b/~/"], "a ~ ends a parameter"),
        ([VIDEOS, "inputs=gs://b/w/"], "inputs is given 2 times: give it once, with commas"),
        ([VIDEOS, "limit=1", "limit=2", "limit=2"], "limit is given 3 times: give it once"),
        ([VIDEOS, "key_column=name"], "by bytes_column"),
        ([VIDEOS, "key_column=name", "bytes_column="], "by bytes_column"),
        (["--streaming", VIDEOS, "poll_seconds=0"], "poll_seconds=0 does not fit"),
        (["--streaming", VIDEOS, NEW_VIDEOS], "either inputs, which are looked at again and again, or a sub"),
        (["--streaming"], "either inputs, which are looked at again and again, or a subscription"),
    ],
)
def test_the_script_refuses_before_it_builds(
    script: ModuleType, capsys: pytest.CaptureFixture[str], given: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        script.main([*PLACE, *given, OUTPUT])
    said = capsys.readouterr()
    assert reason in said.err
    assert not said.out


def test_the_script_takes_what_goes_together(script: ModuleType) -> None:
    for given in ([VIDEOS, "key_column=name", "bytes_column=video"], [VIDEOS, "key_column="],
                  ["--streaming", VIDEOS], ["--streaming", NEW_VIDEOS]):  # fmt: skip
        assert script.main([*PLACE, *given, OUTPUT]) == 0


@pytest.mark.parametrize("bucket", ["my-bucket", "gs://my-bucket", "gs://my-bucket/"])
def test_a_bucket_has_a_name_and_an_address(
    script: ModuleType, capsys: pytest.CaptureFixture[str], bucket: str
) -> None:
    assert script.main([*PLACE, "--bucket", bucket, VIDEOS, OUTPUT]) == 0
    *_, template, launch = capsys.readouterr().out.splitlines()
    assert "flex-template build gs://my-bucket/templates/mmeg.json " in template
    assert "--template-file-gcs-location gs://my-bucket/templates/mmeg.json " in launch
    assert "--temp-location gs://my-bucket/temp --staging-location gs://my-bucket/staging " in launch


def test_jobs_of_one_output_have_one_name(script: ModuleType) -> None:
    assert script.job_name("gs://b/out") == script.job_name("gs://b/out/") != script.job_name("gs://b/other")
    assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", script.job_name("gs://b/out"))


def test_the_image_has_the_version_and_the_files_that_are_here() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    beam = re.search(r"^apache-beam==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert beam
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert images == [
        "gcr.io/dataflow-templates-base/python311-template-launcher-base:latest",
        f"apache/beam_python3.11_sdk:{beam[1]}",
    ]
    copied = [
        line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    assert all((ROOT / source).exists() for sources in copied for source in sources), copied
    (launcher,) = re.findall(r"FLEX_TEMPLATE_PYTHON_PY_FILE=(\S+)", text)
    assert f"COPY templates/dataflow/launch.py {launcher}" in text
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in text


def test_streams_write_each_pane_once() -> None:
    stream = metadata(STREAM)
    assert (stream["streaming"], stream["supportsAtLeastOnce"], stream["defaultStreamingMode"]) == (
        True,
        False,
        "EXACTLY_ONCE",
    )
    assert "streaming" not in metadata(BATCH)


def test_the_page_names_parameters_and_flags_that_are_there() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b([a-z_]+)=", page))
    assert named <= {*parameters(BATCH), *parameters(STREAM)}
    flags = set(re.findall(r"(--[a-z][a-z-]+)", page)) - {"--update"}
    script = (FOLDER / "build_and_launch.py").read_text(encoding="utf-8")
    assert {flag for flag in flags if f'"{flag}"' not in script} == set()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links
    assert all((FOLDER / link).exists() for link in links)
