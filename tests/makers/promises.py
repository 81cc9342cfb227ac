"""What every output folder of `mmeg annotate` promises, whatever went in."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from mmeg_model.labels import LABELS_BY_TASK
from pipelines.tables import SCHEMAS, TABLES

SAME_VIDEO = (
    "{0}.video_uri = v.video_uri and {0}.video_version is not distinct from v.video_version "
    "and {0}.member is not distinct from v.member and {0}.run_id = v.run_id"
)


def broken_promises(output: Path, *, num_inputs: int | None = None) -> list[str]:
    """Each promise that an output folder breaks, in words; none is good."""
    return list(_broken(output, num_inputs))


def assert_promises(output: Path, *, num_inputs: int | None = None) -> None:
    assert broken_promises(output, num_inputs=num_inputs) == []


def _broken(output: Path, num_inputs: int | None) -> Iterator[str]:
    names = {}
    for table in TABLES:
        files = sorted(path for path in (output / table).rglob("*") if path.is_file() and path.name[0] != ".")
        names[table] = {path.relative_to(output / table) for path in files}
        if strays := [path.name for path in files if path.suffix != ".parquet" and path.name[0] != "."]:
            yield f"{table}: {strays} lie beside the data"
        if not files:
            yield f"{table}: there is no file"
            return
        if any(not pq.read_schema(path).equals(SCHEMAS[table]) for path in files):
            yield f"{table}: a file of another schema"
        if any(b"schema_version" not in (pq.read_schema(path).metadata or {}) for path in files):
            yield f"{table}: a file without schema_version"
    if len({frozenset(paths) for paths in names.values()}) > 1:
        yield f"the tables have different files: {names}"

    db = duckdb.connect()
    for table in TABLES:
        db.sql(
            f"create view {table} as "
            f"select * from read_parquet('{output}/{table}/**/*.parquet', hive_partitioning = false)"
        )
    e, a = SAME_VIDEO.format("e"), SAME_VIDEO.format("a")
    has_error = f"exists (select 1 from errors e where {e})"
    num_rows = f"(select count(*) from annotations a where {a})"
    nothing_in = {
        "videos: one stands twice": "from (select 1 from videos group by video_uri, video_version, member having count(*) > 1)",
        "videos: one without a name or with an unknown status": (
            "from videos where video_uri is null or status not in ('ok', 'partial', 'failed')"
        ),
        "videos: ok with an error, or not ok without": f"from videos v where (status = 'ok') = {has_error}",
        "videos: counts that the annotations contradict": f"from videos v where clips - failed_clips <> {num_rows}",
        "videos: a status that its clips contradict": (
            f"from videos v where (status = 'ok' and (clips = 0 or failed_clips > 0)) "
            f"or (status = 'failed') <> ({num_rows} = 0)"
        ),
        "videos: an outcome without a time": "from videos where annotated_at is null or run_id is null",
        "errors: a row that says nothing": "from errors where coalesce(error, '') = '' or coalesce(message, '') = ''",
        "errors: a row of no video": (
            f"from errors e where stage not in ('find', 'model') and not exists (select 1 from videos v where {e})"
        ),
        "annotations: a clip of no video": f"from annotations a where not exists (select 1 from videos v where {a})",
        "annotations: a clip that stands twice": (
            "from (select 1 from annotations group by video_uri, video_version, member, clip_index having count(*) > 1)"
        ),
        "annotations: an empty or backward time range": (
            "from annotations where start_seconds < 0 or end_seconds <= start_seconds"
        ),
        "annotations: clips that overlap or leave their order": (
            "from (select start_seconds - lag(end_seconds) over "
            "(partition by video_uri, video_version, member order by clip_index) as gap from annotations) where gap < -1e-6"
        ),
        "annotations: unknown modalities": "from annotations where modalities not in ('audio+video', 'audio', 'video')",
    }
    for task, labels in LABELS_BY_TASK.items():
        label, p = f"perceived_{task}", f"perceived_{task}_probabilities"
        total = " + ".join(f"{p}.{name}" for name in labels)
        best = f"greatest({', '.join(f'{p}.{name}' for name in labels)})"
        own = "case " + " ".join(f"when {label} = '{name}' then {p}.{name}" for name in labels) + " end"
        nothing_in |= {
            f"{p}: no distribution": f"from annotations where abs({total} - 1) > 1e-3",
            f"{label}: not the most probable": f"from annotations where {own} <> {best} or {label} not in {labels}",
            f"{label}: a confidence that is not its probability": (
                f"from annotations where abs({label}_confidence - {best}) > 1e-6"
            ),
            f"{label}: null without its probabilities": f"from annotations where ({label} is null) <> ({p} is null)",
        }
    for promise, condition in nothing_in.items():
        if db.sql(f"select count(*) {condition}").fetchall()[0][0]:
            yield promise
    if num_inputs is not None:
        count = db.sql("select count(*) from videos").fetchall()[0][0]
        if count != num_inputs:
            yield f"videos: {count} rows for {num_inputs} inputs"
