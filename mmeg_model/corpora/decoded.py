"""An utterance as one clip, decoded once and kept on disk."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLES_PER_MS, Clip
from mmeg_model.corpora.picture_table import load_picture
from mmeg_model.corpora.shards import read_shard_clip
from mmeg_model.corpora.utterance import Excerpt, ShardClip, TablePicture, Utterance
from mmeg_model.media import DECODE_VERSION
from mmeg_model.media.crop import WHOLE, Crop
from mmeg_model.media.decode import decode_span
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import VideoInfo, probe
from mmeg_model.media.source import local_version
from mmeg_model.media.windows import Window
from mmeg_model.whole import written_whole

_log = logging.getLogger(__name__)

DecodeFile = Callable[[Path, int, int | None, Crop], Clip]
"""Decodes the part of a file from start_ms, a multiple of 40, to end_ms (None: its end)."""


def default_cache() -> Path:
    """The folder for decoded clips in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmeg" / "clips"


def load_clip(utterance: Utterance, *, cache: Path) -> Clip:
    """An utterance as one clip, by the decoder that annotation uses.

    Args:
        utterance: what must be decoded from a file is decoded the first time, and again when the file changes.
            Pictures of tables and clips of shards are read where they lie.
        cache: a folder for decoded clips, made if need be; about 0.7 MB for a second of picture, 0.05 MB for one of
            sound. What is damaged there is decoded again, and what cannot be written, on a full disk for instance,
            each time.

    Raises:
        ValueError: if it cannot be decoded; the message names its file.
    """
    if isinstance(utterance.part, ShardClip):
        return read_shard_clip(utterance.path, utterance.part.row)
    if isinstance(utterance.part, TablePicture):
        return _decoded(utterance)
    file = cache / _cache_name(utterance)
    if file.exists():
        with contextlib.suppress(Exception):  # whatever is wrong with it, it is made anew
            return _kept(file)
    clip = _decoded(utterance)
    try:
        with written_whole(file) as temporary:  # several trainings may share a cache
            arrays = {n: array for n, array in vars(clip).items() if n != "frames" or clip.has_video}
            np.savez(temporary, **arrays)
    except OSError as error:  # it costs time, but no example
        _log.warning("decoded clips are not kept, %s cannot be written: %s", cache, error)
    return clip


def _kept(file: Path) -> Clip:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    arrays.setdefault("frames", np.zeros((len(arrays["frames_valid"]), FRAME_SIZE, FRAME_SIZE, 3), np.uint8))
    return Clip(int(arrays.pop("start_ms")), int(arrays.pop("end_ms")), **arrays)


def decode_utterance(utterance: Utterance, decode: DecodeFile) -> Clip:
    """Decode an utterance that is in no shard.

    Raises:
        MediaError: if it cannot be decoded, or neither picture nor sound comes of it.
        OSError: if a table of pictures cannot be read.
        ValueError: if it is in a shard.
    """
    match utterance.part:
        case TablePicture(row=row):
            clip = load_picture(utterance.path, row)
        case Excerpt() as excerpt:
            clip = _decode_excerpt(utterance.path, excerpt, decode)
        case None:
            clip = decode(utterance.path, 0, None, WHOLE)
        case ShardClip():
            raise ValueError(f"{utterance.place} is decoded already")
    if not (clip.has_video or clip.has_audio):
        raise MediaError("decode", "NothingDecoded", "neither picture nor sound could be decoded")
    return clip


def _decode_excerpt(path: Path, excerpt: Excerpt, decode: DecodeFile) -> Clip:
    """The clip begins on the grid of frames, up to 39 ms before the excerpt."""
    start_ms = excerpt.start_ms // FRAME_MS * FRAME_MS
    if excerpt.sound is None:
        return decode(path, start_ms, excerpt.end_ms, Crop(excerpt.box, excerpt.channel))
    clip = decode(path, start_ms, excerpt.end_ms, Crop(excerpt.box))
    sound = decode(excerpt.sound, 0, None, Crop(channel=excerpt.channel))
    offset = (excerpt.start_ms - start_ms) * SAMPLES_PER_MS
    samples, samples_valid = np.zeros_like(clip.samples), np.zeros_like(clip.samples_valid)
    num_samples = min(len(sound.samples), len(samples) - offset)
    samples[offset : offset + num_samples] = sound.samples[:num_samples]
    samples_valid[offset : offset + num_samples] = sound.samples_valid[:num_samples]
    return replace(clip, samples=samples, samples_valid=samples_valid)


def _decoded(utterance: Utterance) -> Clip:
    try:
        return decode_utterance(utterance, _decode_here)
    except (MediaError, OSError) as error:
        raise ValueError(
            f"{utterance.place} cannot be decoded ({error}): mend it, or take it out of its corpus"
        ) from error


def _decode_here(path: Path, start_ms: int, end_ms: int | None, crop: Crop) -> Clip:
    with path.open("rb") as file:
        info = probe(file)
        (clip,) = decode_span(file, info, [window_in(info, start_ms, end_ms)], crop=crop)
    return clip


def window_in(info: VideoInfo, start_ms: int, end_ms: int | None) -> Window:
    """The time range of a file, its end known.

    Raises:
        MediaError: if the file ends before it, or more than a second before its end.
    """
    if start_ms >= info.duration_ms or (end_ms or 0) > info.duration_ms + 1_000:
        end = "its end" if end_ms is None else f"{end_ms / 1000:.3f} s"
        raise MediaError(
            "decode",
            "OutsideFile",
            f"{start_ms / 1000:.3f} s to {end} is wanted of {info.duration_ms / 1000:.3f} s",
        )
    return start_ms, info.duration_ms if end_ms is None else end_ms


def _cache_name(utterance: Utterance) -> Path:
    try:
        path = utterance.path.resolve()
        content = f"{path}\0{local_version(path.stat())}\0{DECODE_VERSION}"
        if isinstance(utterance.part, Excerpt):
            sound = utterance.part.sound and utterance.part.sound.resolve()
            content += f"\0{replace(utterance.part, sound=sound)}"
            content += f"\0{local_version(sound.stat())}" if sound else ""
    except OSError as error:
        raise ValueError(f"{utterance.path} cannot be read: {error}") from error
    key = hashlib.blake2b(content.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    return Path(key[:2]) / f"{key}.npz"
