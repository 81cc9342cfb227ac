"""Corpora, one a file, each read to `Utterance` records. Imports no torch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mmeg_model.corpora import emodb, javanese, ravdess, synthetic
from mmeg_model.corpora.utterance import Corpus, CorpusReading, Utterance
from mmeg_model.nearest import unknown

CORPORA: Final[Mapping[str, Corpus]] = MappingProxyType(
    {
        "javanese-av": javanese.CLIPS,
        "javanese-speech": javanese.SOUNDS,
        "ravdess-speech": ravdess.SOUNDS,
        "emodb-speech": emodb.SOUNDS,
        "synthetic": synthetic.VIDEOS,
    }
)
"""By the name of its folder inside a folder of corpora."""


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
        reading = CORPORA[name].read(data / name)
        utterances += reading.utterances
        excluded.update({f"{name}: {reason}": number for reason, number in reading.excluded.items()})
    return CorpusReading(tuple(utterances), dict(excluded))
