"""EmoDB, the Berlin database of emotional speech (Burkhardt et al. 2005, Interspeech).

Names are two digits of the speaker, three characters of the text, the emotion's German initial and a version:
`03a01Fa`. The speakers' genders are those of the publisher's list.
"""

import re
from pathlib import Path
from typing import Final

from mmeg_model.corpora.utterance import (
    SOUND_SUFFIXES,
    Corpus,
    CorpusReading,
    Utterance,
    emotion_by_code,
    read_by_name,
)

_NAME: Final = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])")
_EMOTIONS: Final = {"N": "neutral", "W": "anger", "F": "happiness", "T": "sadness"}
_PERCEIVED_GENDERS: Final = {
    **dict.fromkeys(("08", "09", "13", "14", "16"), "female"),
    **dict.fromkeys(("03", "10", "11", "12", "15"), "male"),
}


def _utterance(path: Path, match: re.Match[str]) -> Utterance:
    return Utterance(
        path=path,
        corpus="emodb-speech",
        recording=f"emodb/{path.stem}",
        speaker=f"emodb-{match['speaker']}",
        emotion=emotion_by_code(_EMOTIONS, match["emotion"]),
        perceived_gender=_PERCEIVED_GENDERS.get(match["speaker"]),
    )


def read_sounds(folder: Path) -> CorpusReading:
    """Read the sounds; boredom (L), disgust (E) and fear (A) are left out."""
    return read_by_name(folder, SOUND_SUFFIXES, _NAME, _utterance)


SOUNDS: Final = Corpus(
    title="EmoDB, Berlin database of emotional speech (Burkhardt et al. 2005)",
    read=read_sounds,
    language="German",
    terms="free for research",
)
