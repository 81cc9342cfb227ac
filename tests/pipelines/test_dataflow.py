"""What Dataflow would be given: the job is translated here, and not sent."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from makers.buckets import BUCKET, Proxy
from makers.published import ok
from makers.shards import make_tar

from mmeg_model.media.source import VideoRef
from pipelines.annotate_command import parse
from pipelines.completed import NOTHING_COMPLETED
from pipelines.dataflow import prepare, resource_hints
from pipelines.dataflow_launch import flags_of, launch
from pipelines.find_videos import Found, find_videos
from pipelines.local_run import LocalRun
from pipelines.publish import publish
from pipelines.stream_command import build_stream
from pipelines.table_files import file_name

IMAGE = "europe-docker.pkg.dev/mmeg-project-1234/mmeg/mmeg:0.1.0"
GPU = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
OUTPUT = f"gs://{BUCKET}/tables"
PARAMETERS = [
    f"--output={OUTPUT}",
    "--runner=DataflowRunner",
    "--project=mmeg-project-1234",
    "--region=europe-west4",
    "--job_name=mmeg-tables",
    f"--temp_location=gs://{BUCKET}/temp",
    f"--staging_location=gs://{BUCKET}/staging",
    f"--sdk_container_image={IMAGE}",
    "--machine_type=n1-standard-16",
    f"--accelerator={GPU}",
]


@pytest.fixture(autouse=True)
def _without_credentials(buckets: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)  # else 20 s go by in asking for some


def translated(*more: str) -> Any:
    """The job of a slice of one video and one shard, as Dataflow's translation leaves it."""
    _, options = parse([*flags_of([*PARAMETERS, *more]), "--", "--dry_run=true"])
    run = LocalRun.of(options)
    items = [
        Found(VideoRef("gs://archive/a.mp4", "1"), 10),
        Found(VideoRef("gs://archive/s.tar", "1"), 10, is_shard=True),
    ]
    return run.lay_out(items, slice_index=0, completed=NOTHING_COMPLETED).run().job


def steps_of(proto: beam_runner_api_pb2.Pipeline) -> list[str]:
    """The names of what runs, and not of composites, without what Beam's own version decides."""
    return sorted(
        t.unique_name
        for t in proto.components.transforms.values()
        if t.spec.urn and not t.subtransforms and "core.py" not in t.unique_name
    )


def test_the_names_of_steps_are_stable() -> None:
    """What a job keeps is found again by these; who changes one ends what streams go on from."""
    assert steps_of(translated().proto_pipeline) == [
        "All videos",
        "Annotate/All parts",
        "Annotate/Annotate spans/Decode/ParDo(DecodeClips)",
        "Annotate/Annotate spans/Gather",
        "Annotate/Annotate spans/Infer/BatchElements/ParDo(_GlobalWindowsBatchingDoFn)",
        "Annotate/Annotate spans/Infer/BeamML_RunInference",
        "Annotate/Annotate spans/Outcomes",
        "Annotate/Plan/ParDo(PlanSpans)",
        "Annotate/Spread/Drop key",
        "Annotate/Spread/Key",
        "Annotate/Spread/Reshuffle/FlatMap(restore_metadata_default_window)",
        "Annotate/Spread/Reshuffle/GroupByKey",
        "Annotate/Spread/Reshuffle/Map(reify_metadata_default_window)",
        "Every outcome",
        "Index/ParDo(IndexShards)",
        "Not found/Impulse",
        "Not found/Map(decode)",
        "Publish/Every shard/Impulse",
        "Publish/Every shard/Map(decode)",
        "Publish/Group by shard",
        "Publish/Key by shard",
        "Publish/With every shard",
        "Publish/Write",
        "Shards/List/Impulse",
        "Shards/List/Map(decode)",
        "Spread members/Drop key",
        "Spread members/Key",
        "Spread members/Reshuffle/FlatMap(restore_metadata_default_window)",
        "Spread members/Reshuffle/GroupByKey",
        "Spread members/Reshuffle/Map(reify_metadata_default_window)",
        "Videos/List/Impulse",
        "Videos/List/Map(decode)",
    ]


def test_decode_inference_and_rows_are_one_stage_with_the_accelerator() -> None:
    proto = translated().proto_pipeline
    _, stages = FnApiRunner().create_stages(proto)
    in_stages = [{t.unique_name for t in stage.transforms} for stage in stages]
    steps = {step for step in steps_of(proto) if "Annotate spans" in step and "Outcomes" not in step}
    assert len(steps) == 4, "decode, batch, infer, gather"
    assert [steps & stage for stage in in_stages if steps & stage] == [steps]
    hints = {
        t.unique_name: proto.components.environments[t.environment_id].resource_hints
        for t in proto.components.transforms.values()
        if t.environment_id
    }
    expected = {
        common_urns.resource_hints.ACCELERATOR.urn: GPU.encode(),
        common_urns.resource_hints.MIN_RAM_BYTES.urn: str((6 + 16) << 30).encode(),  # 16 decoders of 1 GiB
    }
    for name, of_step in hints.items():
        assert dict(of_step) == (expected if "Annotate spans" in name else {}), name


@pytest.mark.parametrize(
    ("machine_type", "num_cores"),
    [
        ("n1-standard-16", 16),
        ("zones/europe-west4-a/machineTypes/n1-highmem-8", 8),
        ("n2-custom-16-65536", 16),
        ("custom-4-15360", 4),
        ("n2d-custom-8-131072-ext", 8),
        ("custom-6-65536-ext", 6),
        ("c3-standard-8-lssd", 8),
        ("a2-highgpu-1g", 12),
        ("a2-ultragpu-4g", 48),
        ("a2-megagpu-16g", 96),
        ("e2-medium", None),
        ("e2-custom-medium-4096", None),
        ("ct5lp-hightpu-4t", None),
    ],
)
def test_a_worker_has_a_decoder_and_a_thread_for_each_core(machine_type: str, num_cores: int | None) -> None:
    """Types that GPUs are counted in have cores for each; of custom ones the memory is no number of cores."""
    _, options = parse(flags_of([*PARAMETERS, f"--machine_type={machine_type}"]))
    prepare(options)
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == num_cores
    assert resource_hints(options).get("min_ram") == (f"{6 + num_cores}GiB" if num_cores else None)


def test_every_environment_is_the_image_and_no_session_is_pickled() -> None:
    proto = translated().proto_pipeline
    for environment in proto.components.environments.values():
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        assert payload.container_image == IMAGE
        staged = [
            beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload).staged_name
            for artifact in environment.dependencies
        ]
        assert staged == ["submission_environment_dependencies.txt"], "no session, no package"


def template(buckets: Proxy, *parameters: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a launch leaves at --template_location: the job, and Beam's options in it."""
    location = f"gs://{BUCKET}/launches/job_object"
    assert launch([*PARAMETERS, f"--template_location={location}", *parameters]) == 0
    job = json.loads(buckets.contents()["launches/job_object"])
    return job, job["environment"]["sdkPipelineOptions"]["options"]


def test_a_launch_starts_one_slice_and_leaves_its_lock_to_the_job(
    buckets: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        buckets.upload(f"archive/{name}", b"x" * 10)
    inputs = f"--inputs=gs://{BUCKET}/archive/, gs://{BUCKET}/missing.mp4"
    job, options = template(buckets, inputs, "--slice_bytes=25", "--retry_failed=true", "--tasks=emotion")
    assert "2 inputs, 0.0 GB, are this job's slice" in capsys.readouterr().err
    assert (job["name"], job["type"]) == ("mmeg-tables", "JOB_TYPE_BATCH")
    assert options["number_of_worker_harness_threads"] == 16
    assert "use_multiple_sdk_containers" not in job["environment"]["experiments"]
    assert "no_use_multiple_sdk_containers" in job["environment"]["experiments"]
    assert options["dataflow_service_options"] == [f"worker_accelerator={GPU}"]
    assert options["sdk_container_image"] == IMAGE
    assert options["sdk_location"] == "container"
    assert not options.get("save_main_session")
    assert (options["retry_failed"], options["tasks"]) == (True, "emotion")
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n1-standard-16"
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {IMAGE}
    assert pool["numThreadsPerWorker"] == 16

    lock = json.loads(buckets.contents()["tables/.mmeg.lock"])
    assert lock["job"] == "projects/mmeg-project-1234/locations/europe-west4/jobs/mmeg-tables"
    assert launch([*PARAMETERS, inputs]) == 2
    assert "another run writes into" in capsys.readouterr().err


def test_a_stream_is_one_by_its_parameters(buckets: Proxy) -> None:
    subscription = "--subscription=projects/mmeg-project-1234/subscriptions/new-videos"
    job, options = template(buckets, subscription)
    assert job["type"] == "JOB_TYPE_STREAMING"
    assert (options["streaming"], options["enable_streaming_engine"]) == (True, True)
    assert options["number_of_worker_harness_threads"] == 16
    assert json.loads(buckets.contents()["tables/.mmeg.lock"])["job"].endswith("/jobs/mmeg-tables")


def test_launched_again_it_goes_on_and_comes_to_an_end(
    buckets: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job itself is played: what it would publish stands in the output when the next is launched."""
    for name in ("a.mp4", "b.mp4"):
        buckets.upload(f"archive/{name}", b"x" * 10)
    tar = make_tar(tmp_path / "s.tar", [("c.mp4", b"c"), ("d.mp4", b"d")])
    buckets.upload("archive/s.tar", tar.read_bytes())
    inputs = [f"--inputs=gs://{BUCKET}/archive/", f"--template_location=gs://{BUCKET}/launches/job_object"]
    _, options = parse(flags_of([*PARAMETERS, *inputs[:1]]))
    run = LocalRun.of(options)
    (a, b, shard) = (item.video for item in find_videos([f"gs://{BUCKET}/archive/"]))
    members = [replace(shard, member=f"{name}.mp4") for name in "cd"]

    def finish(*videos: VideoRef) -> None:
        number = len([name for name in buckets.contents() if name.startswith("tables/videos/")])
        publish(map(ok, videos), output=run.output, constants=run.constants,
                stem=f"run={run.constants.run_id}/{file_name(slice_index=number, shard=0, num_shards=1)}")  # fmt: skip
        if "tables/.mmeg.lock" in buckets.contents():
            buckets.delete("tables/.mmeg.lock")  # as if the job were over

    finish(a)
    assert launch([*PARAMETERS, *inputs]) == 0
    assert "2 inputs, " in capsys.readouterr().err, "the other video, and the shard as a whole"
    buckets.delete("tables/.mmeg.lock")
    finish(b, members[0])
    assert launch([*PARAMETERS, *inputs]) == 0
    assert "1 inputs, " in capsys.readouterr().err, "the member that is left of a shard that was begun"
    buckets.delete("tables/.mmeg.lock")
    finish(members[1])
    assert launch([*PARAMETERS, *inputs]) == 2
    assert "nothing is left to do" in capsys.readouterr().err
    assert "tables/.mmeg.lock" not in buckets.contents()


def test_parameters_become_flags() -> None:
    given = ["--inputs=gs://a/x.mp4, gs://b/y/,", "--retry_failed=false", "--replace_changed=true", "--bundle=",
             "--slice_bytes=7", "--poll_seconds=30", "--max_num_workers=3", "--unknown"]  # fmt: skip
    assert flags_of(given) == ["gs://a/x.mp4", "gs://b/y/", "--replace-changed", "--slice-bytes=7", "--poll-seconds=30",
                               "--streaming", "--max_num_workers=3", "--unknown"]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (["--inputs=gs://{bucket}/none/"], "there is nothing"),
        (["--inputs=gs://{bucket}/x.mp4", "--output=/local"], "workers of Dataflow write to gs:// alone"),
    ],
)
def test_what_cannot_start_says_why(
    buckets: Proxy, capsys: pytest.CaptureFixture[str], parameters: list[str], reason: str
) -> None:
    assert launch([*PARAMETERS, *(p.format(bucket=BUCKET) for p in parameters)]) == 2
    assert reason in capsys.readouterr().err
    assert "tables/.mmeg.lock" not in buckets.contents()


@pytest.mark.parametrize("output", [[], ["--output="]])
@pytest.mark.parametrize(
    "source", ["--inputs=gs://{bucket}/x.mp4", "--subscription=projects/mmeg-project-1234/subscriptions/s"]
)
def test_no_output_is_a_wrong_start(
    capsys: pytest.CaptureFixture[str], output: list[str], source: str
) -> None:
    others = [parameter for parameter in PARAMETERS if not parameter.startswith("--output")]
    assert launch([*others, *output, source.format(bucket=BUCKET)]) == 2
    assert capsys.readouterr().err.startswith("mmeg: --output is missing")


def stream_translated(*more: str) -> Any:
    inputs, options = parse([*flags_of([*PARAMETERS, *more]), "--", "--dry_run=true"])
    pipeline = beam.Pipeline(options=options)
    build_stream(pipeline, inputs, LocalRun.of(options))
    return pipeline.run().job


STREAM_STEPS = [
    "All videos",
    "Annotate/All parts",
    "Annotate/Annotate spans/Decode/ParDo(DecodeClips)",
    "Annotate/Annotate spans/Gather",
    "Annotate/Annotate spans/Infer/BatchElements/ParDo(_WindowAwareBatchingDoFn)",
    "Annotate/Annotate spans/Infer/BeamML_RunInference",
    "Annotate/Annotate spans/Outcomes",
    *(
        f"Annotate/Annotate spans of long videos/{step}"
        for step in (
            "Decode/ParDo(DecodeClips)",
            "Gather",
            "Infer/BatchElements/ParDo(_WindowAwareBatchingDoFn)",
            "Infer/BeamML_RunInference",
            "Outcomes",
        )
    ),
    "Annotate/Part/ParDo(ApplyPartitionFnFn)/ParDo(ApplyPartitionFnFn)",
    "Annotate/Plan/ParDo(PlanSpans)",
    *(
        f"Annotate/Spread{which}/{step}"
        for which in (" of long videos", "")
        for step in (
            "Back",
            "Drop key",
            "Key",
            "Leave windows",
            "Reshuffle/FlatMap(restore_metadata_default_window)",
            "Reshuffle/GroupByKey",
            "Reshuffle/Map(reify_metadata_default_window)",
        )
    ),
    "Every outcome",
    "Index/ParDo(IndexShards)",
    "Key",
    "Once",
    "Publish/Group by shard",
    "Publish/Key by shard",
    "Publish/Write",
    "Sort out/ParDo(SortOut)",
    "Spread members/Back",
    "Spread members/Drop key",
    "Spread members/Key",
    "Spread members/Leave windows",
    "Spread members/Reshuffle/FlatMap(restore_metadata_default_window)",
    "Spread members/Reshuffle/GroupByKey",
    "Spread members/Reshuffle/Map(reify_metadata_default_window)",
    "Window",
]


@pytest.mark.parametrize(
    ("source", "steps_of_source"),
    [
        (
            ["--subscription=projects/mmeg-project-1234/subscriptions/new-videos"],
            [
                "Find/Messages/Map(_from_proto_str)",
                "Find/Messages/ParDo(_AddMetricsPassThrough)",
                "Find/Messages/Read",
                "Find/Read",
            ],
        ),
        (
            [f"--inputs=gs://{BUCKET}/videos/", "--poll_seconds=30"],
            [
                "Find/Find",
                "Find/Poll/GenSequence",
                "Find/Poll/ImpulseElement/Impulse",
                "Find/Poll/ImpulseElement/Map(decode)",
                "Find/Poll/ImpulseElement/MaybeReshuffle",
                "Find/Poll/MapToTimestamped",
            ],
        ),
    ],
)
def test_the_names_of_a_streams_steps_are_stable(source: list[str], steps_of_source: list[str]) -> None:
    job = stream_translated(*source)
    assert steps_of(job.proto_pipeline) == sorted(
        [*steps_of_source, *(f"Stream/{step}" for step in STREAM_STEPS)]
    )
    for transform in job.proto_pipeline.components.transforms.values():
        if transform.environment_id:
            environment = job.proto_pipeline.components.environments[transform.environment_id]
            assert bool(environment.resource_hints) == ("Annotate spans" in transform.unique_name)
