"""RAVDESS, spoken part (Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391). CC BY-NC-SA 4.0.

Names are seven numbers, `modality-channel-emotion-intensity-statement-repetition-actor`; odd actors are male.
Modality 03 is sound alone, 01 picture and sound, 02 the same picture without its sound.
"""

import re
from functools import partial
from pathlib import Path
from typing import Final

from mmeg_model.corpora.utterance import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    Corpus,
    CorpusReading,
    ExcludedError,
    Utterance,
    emotion_by_code,
    read_by_name,
)

_NAME: Final = re.compile(
    r"(?P<modality>\d\d)-(?P<take>(?P<channel>\d\d)-(?P<emotion>\d\d)(-\d\d){3}-(?P<actor>\d\d))"
)
_SPEECH: Final = "01"
_PICTURE_ALONE: Final = "02"
_EMOTIONS: Final = {"01": "neutral", "03": "happiness", "04": "sadness", "05": "anger"}


def _utterance(corpus: str, path: Path, match: re.Match[str]) -> Utterance:
    if match["channel"] != _SPEECH:
        raise ExcludedError("song")
    if match["modality"] == _PICTURE_ALONE:
        raise ExcludedError("picture of a recording without its sound")
    return Utterance(
        path=path,
        corpus=corpus,
        recording=f"ravdess/{match['take']}",
        speaker=f"ravdess-{match['actor']}",
        emotion=emotion_by_code(_EMOTIONS, match["emotion"]),
        perceived_gender="male" if int(match["actor"]) % 2 else "female",
    )


def read_sounds(folder: Path) -> CorpusReading:
    """Read the sounds; calm (02), fear, disgust, surprise and songs are left out."""
    return read_by_name(folder, SOUND_SUFFIXES, _NAME, partial(_utterance, "ravdess-speech"))


def read_clips(folder: Path) -> CorpusReading:
    """Read the clips (picture and sound), of which pictures without sound are copies; as of the sounds."""
    return read_by_name(folder, PICTURE_SUFFIXES, _NAME, partial(_utterance, "ravdess-av"))


SOUNDS: Final = Corpus(
    title="RAVDESS, spoken part, sound (Livingstone and Russo 2018)",
    read=read_sounds,
    language="English",
    terms="CC BY-NC-SA 4.0",
    weights_license="cc-by-nc-sa-4.0",
)
CLIPS: Final = Corpus(
    title="RAVDESS, spoken part, clips (picture and sound) (Livingstone and Russo 2018)",
    read=read_clips,
    language="English",
    terms="CC BY-NC-SA 4.0",
    weights_license="cc-by-nc-sa-4.0",
)
