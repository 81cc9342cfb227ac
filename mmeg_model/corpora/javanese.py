"""Javanese emotional speech: eight actors, four sentences, four emotions; clips, and sounds of the same actors.

Names are `<actor>-<sentence>-<emotion>_<repetition>`. Repetition 01 of the sounds is the soundtrack of the clip
of the same name, and the actors are the same: both corpora name speakers and recordings alike.
"""

import re
from pathlib import Path
from typing import Final

from mmeg_model.corpora.utterance import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    Corpus,
    CorpusReading,
    Utterance,
    emotion_by_code,
    read_by_name,
)

_NAME: Final = re.compile(r"(?P<actor>\d\d)-(?P<sentence>\d\d)-(?P<emotion>\d\d)_(?P<repetition>\d\d)")
_EMOTIONS: Final = {"01": "neutral", "02": "sadness", "03": "happiness", "06": "anger"}
_PERCEIVED_GENDERS: Final = {
    **dict.fromkeys(("01", "02", "03", "04"), "female"),
    **dict.fromkeys(("06", "07", "08", "09"), "male"),
}
"""As perceived from the picture; the names do not tell. An actor who is not here has no label."""


def _utterance(corpus: str, path: Path, match: re.Match[str]) -> Utterance:
    return Utterance(
        path=path,
        corpus=corpus,
        recording=f"javanese/{path.stem}",
        speaker=f"javanese-{match['actor']}",
        emotion=emotion_by_code(_EMOTIONS, match["emotion"]),
        perceived_gender=_PERCEIVED_GENDERS.get(match["actor"]),
    )


def read_clips(folder: Path) -> CorpusReading:
    """Read the clips (picture and sound)."""
    return read_by_name(
        folder, PICTURE_SUFFIXES, _NAME, lambda path, match: _utterance("javanese-av", path, match)
    )


def read_sounds(folder: Path) -> CorpusReading:
    """Read the sounds."""
    return read_by_name(
        folder, SOUND_SUFFIXES, _NAME, lambda path, match: _utterance("javanese-speech", path, match)
    )


CLIPS: Final = Corpus(
    title="Javanese emotional speech, clips (picture and sound)",
    read=read_clips,
    language="Javanese",
    terms="none stated",
)
SOUNDS: Final = Corpus(
    title="Javanese emotional speech, sounds", read=read_sounds, language="Javanese", terms="MIT"
)
