"""IEMOCAP (Busso et al. 2008, doi 10.1007/s10579-008-9076-6), as Chae et al. 2018 read it.

Labels stand in `Session*/dialog/EmoEvaluation/*.txt`, a line for each turn:
`[6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]`. The name is the dialog's (where
F or M is who wears the markers) and then F or M and a number, of who speaks. A session has two speakers, who sit
side by side in the picture of 720×480 pixels and in the sound.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Final

from mmeg_model.corpora.utterance import (
    Corpus,
    CorpusReading,
    Excerpt,
    ExcludedError,
    Utterance,
    emotion_by_code,
)
from mmeg_model.media.crop import Box, Channel

LONGEST_MS: Final = 8_000

_TURN: Final = re.compile(
    r"\[(?P<start>\d+\.\d+) - (?P<end>\d+\.\d+)\]\t"
    r"(?P<name>(?P<dialog>Ses(?P<session>\d\d)[FM]_\w+)_(?P<gender>[FM])\w+)\t(?P<emotion>\w+)\t"
)
_EMOTIONS: Final = {"neu": "neutral", "ang": "anger", "hap": "happiness", "sad": "sadness"}
_GENDERS: Final = {"F": "female", "M": "male"}
_BOXES: Final = {
    "F": Box(x=87, y=128, width=224, height=224),
    "M": Box(x=438, y=128, width=224, height=224),
}
_CHANNELS: Final[dict[str, Channel]] = {"F": "left", "M": "right"}


def read_dialogs(folder: Path) -> CorpusReading:
    """Read the turns of all dialogs; excitement and the other emotions, and turns over 8 s, are left out.

    Raises:
        ValueError: if there is none.
    """
    utterances: list[Utterance] = []
    excluded = Counter[str]()
    for labels in sorted(folder.glob("Session*/dialog/EmoEvaluation/Ses*.txt")):
        session = labels.parents[2]
        for line in labels.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.startswith("["):  # no turn
                continue
            try:
                utterances.append(_utterance(session, _TURN.match(line)))
            except ExcludedError as reason:
                excluded[str(reason)] += 1
    if not utterances:
        raise ValueError(
            f"no example of this corpus in {folder}: left out were {dict(excluded)}; labels are looked for in "
            "Session*/dialog/EmoEvaluation/Ses*.txt"
        )
    return CorpusReading(tuple(utterances), dict(excluded))


def _utterance(session: Path, turn: re.Match[str] | None) -> Utterance:
    if turn is None:
        raise ExcludedError("line of another form")
    emotion = emotion_by_code(_EMOTIONS, turn["emotion"])
    start_ms, end_ms = (round(1000 * float(turn[time])) for time in ("start", "end"))
    if end_ms <= start_ms:
        raise ExcludedError("empty time range")
    if end_ms - start_ms > LONGEST_MS:
        raise ExcludedError(f"longer than {LONGEST_MS // 1000} s")
    video = session / "dialog" / "avi" / "DivX" / f"{turn['dialog']}.avi"
    sound = session / "sentences" / "wav" / turn["dialog"] / f"{turn['name']}.wav"
    for what, path in (("video", video), ("sound", sound)):
        if not path.is_file():
            raise ExcludedError(f"no {what} file")
    number, gender = int(turn["session"]), turn["gender"]
    return Utterance(
        path=video,
        corpus="iemocap",
        recording=f"iemocap/{turn['name']}",
        speaker=f"iemocap-{number}{gender}",
        emotion=emotion,
        perceived_gender=_GENDERS[gender],
        session=f"iemocap-{number}",
        part=Excerpt(start_ms, end_ms, box=_BOXES[gender], channel=_CHANNELS[gender], sound=sound),
    )


DIALOGS: Final = Corpus(
    title="IEMOCAP (Busso et al. 2008)",
    read=read_dialogs,
    language="English",
    terms="for research, by an agreement with the University of Southern California",
)
