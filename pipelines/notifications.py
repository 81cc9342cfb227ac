"""Pub/Sub notifications of Cloud Storage -> the objects that they announce.

The format: https://cloud.google.com/storage/docs/pubsub-notifications#format
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import SCHEME, check_uri
from mmeg_model.media.source import VideoRef
from pipelines.found import Found, is_shard_name
from pipelines.path_patterns import PathPattern
from pipelines.tables import Failure

_WRITTEN: Final = "OBJECT_FINALIZE"
"""A generation of an object is whole. Other events are of those that go, or of what is said about them."""
_PAYLOAD: Final = "JSON_API_V1"
_MOST_SHOWN: Final = 200


def read_notification(
    attributes: Mapping[str, str], data: bytes, *, parquet_shards: bool = False
) -> Found | None:
    """The video that a message announces, in the generation that it names.

    None for what is no news, or no video by its name: as in a folder, hidden names are passed over. What is no
    notification is a failure of stage `find` that belongs to no video.
    """
    event = attributes.get("eventType")
    if event is None:
        return _poison(attributes, data, "it has no attribute eventType")
    if event != _WRITTEN:
        return None
    if (payload_format := attributes.get("payloadFormat", _PAYLOAD)) != _PAYLOAD:
        return _poison(
            attributes, data, f"its payloadFormat is {payload_format:.40}; make notifications with {_PAYLOAD}"
        )
    try:
        described: Any = json.loads(data)
        bucket, name, generation = (described[field] for field in ("bucket", "name", "generation"))
        if not all(isinstance(value, str) for value in (bucket, name, generation)):
            raise ValueError("bucket, name and generation must be strings")
        if not name or not re.fullmatch(r"[0-9]{1,20}", generation, re.ASCII):
            raise ValueError(f"there is no name, or the generation is none: {generation:.40}")
        name.encode()
        uri = f"{SCHEME}{bucket}/{name}"
        check_uri(uri, "find")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return _poison(attributes, data, f"{type(error).__name__}: {error}")
    except MediaError as error:
        return _poison(attributes, data, error.message)
    if not _is_meant(name, parquet_shards=parquet_shards):
        return None
    return Found(VideoRef(uri, generation), is_shard=is_shard_name(uri, parquet_shards=parquet_shards))


def _is_meant(name: str, *, parquet_shards: bool) -> bool:
    """Whether a whole bucket, as a folder, would yield it."""
    place = PathPattern("", parquet_shards).top
    *folders, last = name.split("/")
    for folder in folders:
        place = place.enter(folder)
    return bool(last) and place.judge(last) == "meant"


def _poison(attributes: Mapping[str, str], data: bytes, reason: str) -> Found:
    said = data.decode(errors="replace")
    content = repr((sorted(attributes.items()), data)).encode(errors="surrogatepass")
    message = (
        f"a message that is no notification of Cloud Storage ({reason:.{_MOST_SHOWN}}): "
        f"{dict(attributes)!s:.{_MOST_SHOWN}} {said:.{_MOST_SHOWN}} "
        f"(content {hashlib.blake2b(content, digest_size=8).hexdigest()})"  # the same content is told once
    )
    shown = message.encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return Found(None, failure=Failure("find", "BadNotification", shown))
