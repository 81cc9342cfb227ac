"""An utterance as one clip, decoded once and kept on disk."""

import hashlib
import os
from pathlib import Path

import numpy as np

from mmeg_model.clip import Clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.media import DECODE_VERSION
from mmeg_model.media.decode import decode_span
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import probe
from mmeg_model.media.source import local_version
from mmeg_model.whole import written_whole


def default_cache() -> Path:
    """The folder for decoded clips in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmeg" / "clips"


def load_clip(utterance: Utterance, *, cache: Path) -> Clip:
    """The whole utterance as one clip, by the decoder that annotation uses.

    Args:
        utterance: its file is decoded the first time, and again when it changes.
        cache: a folder for decoded clips, made if need be; about 0.7 MB for a second of picture.

    Raises:
        ValueError: if the file cannot be decoded; the message names it.
    """
    path = utterance.path.resolve()
    content = f"{path}\0{local_version(path.stat())}\0{DECODE_VERSION}"
    key = hashlib.blake2b(content.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    file = cache / key[:2] / f"{key}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in ("frames", "frames_valid", "samples", "samples_valid")}
            return Clip(int(kept["start_ms"]), int(kept["end_ms"]), **arrays)
    clip = _decode(path)
    with written_whole(file) as temporary:  # several trainings may share a cache
        np.savez(temporary, **vars(clip))
    return clip


def _decode(path: Path) -> Clip:
    try:
        with path.open("rb") as file:
            info = probe(file)
            (clip,) = decode_span(file, info, [(0, info.duration_ms)])
    except MediaError as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}): mend it, or take it out of its corpus"
        ) from error
    return clip
