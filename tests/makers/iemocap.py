"""A folder with IEMOCAP's layout and formats, in which place, side and time can be told by colour and tone.

The picture, 720×480 at 29.97 Hz as MPEG-4 in AVI, is black but for the two boxes: red where the woman sits, blue
where the man does, both dark in the first second and brighter with each. The sounds are stereo: a tone of 500 Hz
left, of 2,000 Hz right, and the video's own sound of 5,000 Hz.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAME_RATE = Fraction(30_000, 1_001)
LEFT_HZ, RIGHT_HZ, DIALOG_HZ = 500, 2_000, 5_000
WOMAN_X, MAN_X, BOX_Y, BOX_SIZE = 87, 438, 128, 224
SOUND_RATE_HZ = 16_000


def level_at(second: int) -> int:
    """Brightness of the boxes, from 0 to 255."""
    return 60 + 40 * second


def write_dialog(folder: Path, dialog: str, lines: list[str], *, seconds: int) -> None:
    """Write the labels of a dialog, its video, and the sound of each turn as long as its line says."""
    session = folder / f"Session{int(dialog[3:5])}"
    labels = session / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"
    details = "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
    labels.write_text(header + "".join(f"\n{line}\n{details}" for line in lines), encoding="utf-8")
    (labels.parent / f"._{dialog}.txt").write_bytes(b"\0\5\26\7")  # as the publisher's archives have them
    video = session / "dialog" / "avi" / "DivX" / f"{dialog}.avi"
    video.parent.mkdir(parents=True, exist_ok=True)
    _write_video(video, seconds)
    for line in lines:
        times, name, *_ = line.split("\t")
        start, end = map(float, times.strip("[]").split(" - "))
        _write_sound(session / "sentences" / "wav" / dialog / f"{name}.wav", end - start)


def _write_video(path: Path, seconds: int) -> None:
    with av.open(path, "w") as container:
        picture = container.add_stream("mpeg4", rate=FRAME_RATE, options={"qscale": "2"})
        picture.width, picture.height, picture.pix_fmt = 720, 480, "yuv420p"
        picture.codec_context.codec_tag = "DX50"
        picture.codec_context.gop_size = 12
        sound = container.add_stream("pcm_s16le", rate=SOUND_RATE_HZ, layout="stereo")
        for number in range(int(seconds * FRAME_RATE)):
            rgb = np.zeros((480, 720, 3), np.uint8)
            level = level_at(int(number / FRAME_RATE))
            rgb[BOX_Y : BOX_Y + BOX_SIZE, WOMAN_X : WOMAN_X + BOX_SIZE, 0] = level
            rgb[BOX_Y : BOX_Y + BOX_SIZE, MAN_X : MAN_X + BOX_SIZE, 2] = level
            container.mux(picture.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(picture.encode(None))
        container.mux(sound.encode(_stereo(seconds, DIALOG_HZ, DIALOG_HZ)))
        container.mux(sound.encode(None))


def _write_sound(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SOUND_RATE_HZ, layout="stereo")
        container.mux(stream.encode(_stereo(seconds, LEFT_HZ, RIGHT_HZ)))
        container.mux(stream.encode(None))


def _stereo(seconds: float, left_hz: int, right_hz: int) -> av.AudioFrame:
    times = np.arange(round(seconds * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    tones = np.stack([np.sin(2 * np.pi * hz * times) for hz in (left_hz, right_hz)], axis=-1)
    samples = (20_000 * tones).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, 0, Fraction(1, SOUND_RATE_HZ)
    return frame
