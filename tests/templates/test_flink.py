"""The files in templates/flink say what is so: versions, paths and flags."""

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions

from pipelines import options as _options  # so that its flags are among those of PipelineOptions
from pipelines.runners import BATCH_SIZES
from pipelines.slices import BYTES_PER_SHARD, CLUSTER_SLICES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "templates" / "flink"
FILES = ("Dockerfile", "README.md", "docker-compose.yaml", "kubernetes.yaml")
JOB_SERVER_FLAGS = {"flink-master", "job-host", "job-port", "artifact-port", "artifacts-dir"}
"""Of JobServerDriver and FlinkJobServerDriver, in the job server's image."""
FLINK_FLAGS = {"checkpointing_interval"}
"""That job servers describe, beside those that Beam's Python knows."""


def text(name: str) -> str:
    return (FOLDER / name).read_text()


def compose() -> dict[str, Any]:
    return yaml.safe_load(text("docker-compose.yaml"))["services"]


def kubernetes() -> dict[str, Any]:
    return {f"{each['kind']}": each for each in yaml.safe_load_all(text("kubernetes.yaml"))}


def pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return version


@pytest.mark.parametrize("name", FILES)
def test_versions_of_beam_are_the_pinned_one(name: str) -> None:
    images = re.findall(r"apache/beam_(\w+?[\d.]*)_(sdk|job_server):([\d.]+)", text(name))
    assert images
    assert {version for _, _, version in images} == {pinned("apache-beam")}


@pytest.mark.parametrize("name", ["README.md", "docker-compose.yaml", "kubernetes.yaml"])
def test_versions_of_flink_agree_and_are_known_to_beam(name: str) -> None:
    job_server = set(re.findall(r"apache/beam_flink([\d.]+)_job_server", text(name)))
    assert job_server == set(re.findall(r"flink:(\d+\.\d+)-", text(name)))
    assert job_server < set(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)
    assert len(job_server) == 1


def test_the_operator_is_told_the_version_of_its_image() -> None:
    spec = kubernetes()["FlinkDeployment"]["spec"]
    (version,) = re.findall(r"flink:([\d.]+)-", spec["image"])
    assert spec["flinkVersion"] == "v" + version.replace(".", "_")


def test_every_version_of_flink_that_beam_names_is_told() -> None:
    assert ", ".join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS) in text("README.md")


@pytest.mark.parametrize("name", FILES)
def test_every_path_of_the_repository_exists(name: str) -> None:
    for path in re.findall(r"\btemplates/flink/[\w.-]+\w", text(name)):
        assert (ROOT / path).is_file(), path
    for line in re.findall(r"^COPY (.+)$", text(name), re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists(), source


def known_flags() -> set[str]:
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for options_class in {*PipelineOptions.__subclasses__(), _options.AnnotateOptions}:
        options_class._add_argparse_args(parser)
    return {flag.removeprefix("--") for action in parser._actions for flag in action.option_strings}


def flags_in(words: list[str]) -> set[str]:
    return {word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")}


def test_flags_of_launchers_are_known() -> None:
    entry_point = compose()["annotate"]["entrypoint"]
    pod = kubernetes()["Job"]["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert entry_point[:2] == command[:2] == ["mmeg", "annotate"]
    assert flags_in(entry_point) | flags_in(command) <= known_flags()


def test_flags_in_the_readme_are_known() -> None:
    words = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text("README.md")))
    of_docker = {"tag", "file", "detach", "rm", "follow"}
    assert flags_in(list(words)) - of_docker - FLINK_FLAGS <= known_flags()


def test_flags_of_job_servers_are_known() -> None:
    job_server = kubernetes()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert flags_in(compose()["jobserver"]["command"]) == flags_in(job_server["args"]) == JOB_SERVER_FLAGS


def test_workers_are_beside_their_task_manager() -> None:
    services = compose()
    task_managers = {name for name in services if name.startswith("taskmanager-")}
    assert len(task_managers) == 2
    networks = {each["network_mode"] for name, each in services.items() if name.startswith("workers-")}
    assert networks == {f"service:{name}" for name in task_managers}
    containers = kubernetes()["FlinkDeployment"]["spec"]["taskManager"]["podTemplate"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["flink-main-container", "workers"]
    assert containers[1]["args"] == services["workers-1"]["command"] == ["--worker_pool"]


def test_whoever_needs_handed_in_files_sees_them() -> None:
    services = compose()
    folder = "/artifacts"
    assert f"--artifacts-dir={folder}" in services["jobserver"]["command"]
    for name in ("jobserver", "taskmanager-1", "taskmanager-2"):
        assert f"artifacts:{folder}" in services[name]["volumes"]


def test_launchers_and_job_servers_agree_about_ports() -> None:
    services = compose()
    assert "--job_endpoint=jobserver:8099" in services["annotate"]["entrypoint"]
    assert "--job-port=8099" in services["jobserver"]["command"]
    (pool,) = kubernetes()["FlinkDeployment"]["spec"]["taskManager"]["podTemplate"]["spec"]["containers"][1][
        "ports"
    ]
    assert f"--environment_config=localhost:{pool['containerPort']}" in services["annotate"]["entrypoint"]


def test_figures_in_the_readme_are_those_of_the_code() -> None:
    readme = " ".join(text("README.md").split())
    assert f"of {BATCH_SIZES['cpu']} clips on a processor and of {BATCH_SIZES['cuda']} on a GPU" in readme
    assert (
        f"{CLUSTER_SLICES.num_bytes / 1e12:g} TB of input or {CLUSTER_SLICES.num_videos:,} videos".replace(
            ",", " "
        )
        in readme
    )
    assert f"each {BYTES_PER_SHARD / 1e9:g} GB of a slice" in readme


def test_compose_understands_its_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is missing: its file is parsed as YAML alone")
    done = subprocess.run(
        [
            docker,
            "compose",
            "--file",
            str(FOLDER / "docker-compose.yaml"),
            "--profile",
            "*",
            "config",
            "--quiet",
        ],
        env={"DATA": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
