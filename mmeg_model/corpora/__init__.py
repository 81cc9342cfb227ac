"""Corpora, one a file, each read to `Utterance` records. Imports no torch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mmeg_model.corpora import crema_d, emodb, fer2013, iemocap, javanese, ravdess, synthetic
from mmeg_model.corpora.manifest import manifest_in, read_manifest
from mmeg_model.corpora.shards import SHARDS_GLOB, read_shards, shards_of
from mmeg_model.corpora.utterance import Corpus, CorpusReading, Utterance
from mmeg_model.nearest import unknown

CORPORA: Final[Mapping[str, Corpus]] = MappingProxyType(
    {
        "javanese-av": javanese.CLIPS,
        "javanese-speech": javanese.SOUNDS,
        "ravdess-speech": ravdess.SOUNDS,
        "ravdess-av": ravdess.CLIPS,
        "emodb-speech": emodb.SOUNDS,
        "crema-d-av": crema_d.CLIPS,
        "crema-d-speech": crema_d.SOUNDS,
        "iemocap": iemocap.DIALOGS,
        "fer2013-faces": fer2013.PICTURES,
        "synthetic": synthetic.VIDEOS,
    }
)
"""By the name of its folder inside a folder of corpora."""


def corpus_named(name: str) -> Corpus:
    """What is known of a corpus; of one with a manifest, only its name."""
    return CORPORA.get(name) or Corpus(
        title=name, read=partial(_read_own, name), language="not stated", terms="not stated"
    )


def read_corpora(data: Path, names: Sequence[str]) -> CorpusReading:
    """Read several corpora, each as `read_corpus` does and once; reasons why files were left out begin with its name.

    Raises:
        ValueError: as `read_corpus`.
    """
    utterances: list[Utterance] = []
    excluded = Counter[str]()
    for name in dict.fromkeys(names):
        reading = read_corpus(data, name)
        utterances += reading.utterances
        excluded.update({f"{name}: {reason}": number for reason, number in reading.excluded.items()})
    return CorpusReading(tuple(utterances), dict(excluded))


def read_corpus(data: Path, name: str) -> CorpusReading:
    """Read a corpus from the folder of its name inside data.

    A folder of shards is read as what was prepared, any other of a name in `CORPORA` as that corpus, and any other
    with a manifest by that.

    Raises:
        ValueError: if the name is unknown, its folder is not there, or has no example in it.
    """
    if name in ("", "..") or Path(name).name != name:
        raise ValueError(f"corpus {name!r}: a corpus is named by the folder in {data} that it lies in")
    if not name.isprintable():  # shards, bundles and figures hold it as text
        raise ValueError(f"corpus {name!r}: rename its folder, the name must be printable text")
    folder = data / name
    if name not in CORPORA and not _is_own(folder):
        own = (path.name for path in data.iterdir() if _is_own(path)) if data.is_dir() else ()
        raise ValueError(
            f"{unknown('corpus', name, {*CORPORA, *own})}. One's own needs a manifest.csv in {folder}."
        )
    if not folder.is_dir():
        raise ValueError(f"corpus {name!r}: there is no folder {folder}")
    return read_shards(folder) if shards_of(folder) else corpus_named(name).read(folder)


def _is_own(folder: Path) -> bool:
    """Whether a folder has a manifest or shards, be they in order or not."""
    return any(folder.glob("manifest.*")) or any(folder.glob(SHARDS_GLOB))


def _read_own(name: str, folder: Path) -> CorpusReading:
    manifest = manifest_in(folder)
    if manifest is None:
        raise ValueError(f"corpus {name!r}: there is no manifest in {folder}")
    return read_manifest(manifest, corpus=name)
