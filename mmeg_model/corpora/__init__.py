"""Corpora, one a file, each read to `Utterance` records. Imports no torch."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mmeg_model.corpora import emodb, javanese, ravdess, synthetic
from mmeg_model.corpora.utterance import CorpusReading, Utterance
from mmeg_model.nearest import unknown

CORPORA: Final[Mapping[str, Callable[[Path], CorpusReading]]] = MappingProxyType(
    {
        "javanese-av": javanese.read_clips,
        "javanese-speech": javanese.read_sounds,
        "ravdess-speech": ravdess.read_sounds,
        "emodb-speech": emodb.read_sounds,
        "synthetic": synthetic.read_manifest,
    }
)
"""Reads the folder of one corpus; the names are also those of the folders inside a folder of corpora."""


def read_corpora(data: Path, names: Sequence[str]) -> CorpusReading:
    """Read several corpora, each from the folder of its name inside data.

    Raises:
        ValueError: if a name is unknown, its folder is not there, or has no example in it.
    """
    utterances: list[Utterance] = []
    excluded = Counter[str]()
    for name in names:
        if name not in CORPORA:
            raise ValueError(unknown("corpus", name, CORPORA))
        if not (data / name).is_dir():
            raise ValueError(f"corpus {name!r}: there is no folder {data / name}")
        reading = CORPORA[name](data / name)
        utterances += reading.utterances
        excluded.update({f"{name}: {reason}": number for reason, number in reading.excluded.items()})
    return CorpusReading(tuple(utterances), dict(excluded))
