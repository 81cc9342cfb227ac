from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from makers.video import Recipe, make_video

from mmeg_model.media.container import Clock
from mmeg_model.media.crop import WHOLE, Box, Channel, Crop
from mmeg_model.media.decode import decode_span
from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.picture import Scaler
from mmeg_model.media.probe import probe
from mmeg_model.media.sound import Sound
from mmeg_model.media.source import VideoRef

BOX = Box(x=13, y=9, width=50, height=40)
ARRAYS = ("frames", "frames_valid", "samples", "samples_valid")


@pytest.mark.parametrize("box", [(-1, 0, 4, 4), (0, -1, 4, 4), (0, 0, 0, 4), (0, 0, 4, 0)])
def test_no_box(box):
    with pytest.raises(ValueError, match="a box needs x, y >= 0 and width, height >= 1"):
        Box(*box)


@pytest.mark.parametrize(("width", "height", "fits"), [(63, 49, True), (62, 49, False), (63, 48, False)])
def test_a_box_fits_if_all_of_it_is_inside(width: int, height: int, fits: bool):
    assert BOX.fits(width=width, height=height) is fits


@pytest.mark.parametrize("pixel_format", ["rgb24", "gray"])
def test_a_box_is_what_is_cut_out_by_hand(pixel_format: str):
    shape = (60, 80, 3) if pixel_format == "rgb24" else (60, 80)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    cut = np.ascontiguousarray(pixels[9:49, 13:63])

    boxed = Scaler(BOX).scale(VideoFrame.from_ndarray(pixels, pixel_format))

    np.testing.assert_array_equal(boxed, Scaler().scale(VideoFrame.from_ndarray(cut, pixel_format)))


def test_an_odd_corner_is_kept_where_colours_have_half_the_pixels():
    """In yuv420p a column of brightness at x = 13 is the first of the box; rounded, it would be the second."""
    frame = VideoFrame(80, 60, "yuv420p")
    luma = np.full((60, frame.planes[0].line_size), 16, np.uint8)
    luma[:, 13:23] = 235
    frame.planes[0].update(luma)
    for plane in frame.planes[1:]:
        plane.update(bytes([128]) * plane.buffer_size)

    columns = Scaler(Box(x=13, y=0, width=10, height=10)).scale(frame).mean(axis=(0, 2))

    assert columns.min() > 250


def put_together(frames: list[AudioFrame], channel: Channel | None) -> np.ndarray:
    samples = np.zeros(8_000, np.int16)

    def put(start: int, part: np.ndarray) -> None:
        samples[start : start + len(part)] = part

    clock = Clock(start_us=0, unit=Fraction(1, 44_100))
    sound = Sound(clock, first_sample=0, end_sample=8_000, put=put, channel=channel)
    for frame in frames:
        sound.add(frame)
    sound.finish()
    return samples


def frame_of(channels: np.ndarray, sample_format: str, layout: str) -> AudioFrame:
    """From (channels, samples)."""
    is_planar = sample_format.endswith("p")
    array = channels if is_planar else channels.T.reshape(1, -1)
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(array), sample_format, layout)
    frame.sample_rate, frame.pts, frame.time_base = 44_100, 0, Fraction(1, 44_100)
    return frame


@pytest.mark.parametrize(
    ("sample_format", "dtype"),
    [("s16", np.int16), ("s16p", np.int16), ("fltp", np.float32), ("s32", np.int32)],
)
@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_a_channel_sounds_as_it_would_alone(sample_format: str, dtype: type, layout: str):
    numbers = np.arange(10_000)
    loud = 0.5 if dtype is np.float32 else np.iinfo(dtype).max // 2
    num_channels = 2 if layout == "stereo" else 6
    tones = [loud * np.sin(2 * np.pi * 300 * (n + 1) * numbers / 44_100) for n in range(num_channels)]
    channels = np.stack(tones).astype(dtype)
    together = frame_of(channels, sample_format, layout)

    for number, channel in enumerate(("left", "right")):
        alone = frame_of(channels[number : number + 1], sample_format, "mono")
        heard = put_together([together], channel)
        np.testing.assert_array_equal(heard, put_together([alone], None))
        assert heard.std() > 1_000


def test_of_mono_either_channel_is_all():
    heard, whole = (
        put_together([frame_of(np.arange(4_000, dtype=np.int16)[None], "s16", "mono")], channel)
        for channel in ("right", None)
    )
    np.testing.assert_array_equal(heard, whole)
    assert heard.any()


def test_a_child_crops_as_this_process_would(tmp_path):
    path = make_video(tmp_path, Recipe("video.mp4", seconds=1.2, layout="stereo"))
    with path.open("rb") as file:
        info = probe(file)
        whole, cropped = (
            list(decode_span(file, info, [(0, 1_200)], crop=crop)) for crop in (WHOLE, Crop(BOX, "right"))
        )
    with Decoders(
        num_decoders=1, limits=DecoderLimits(deadline_seconds=60.0, memory_bytes=1 << 30)
    ) as decoders:
        from_child = list(decoders.decode(VideoRef(str(path)), info, [(0, 1_200)], crop=Crop(BOX, "right")))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(from_child[0], name), getattr(cropped[0], name))
    assert not np.array_equal(whole[0].frames, cropped[0].frames)
    # The maker's second channel has half the level of the first, so the mix has three quarters.
    levels = [np.abs(clips[0].samples.astype(int)).mean() for clips in (whole, cropped)]
    assert levels[1] / levels[0] == pytest.approx(0.5 / 0.75, rel=0.05)


def test_a_box_outside_the_picture_is_refused(tmp_path):
    path = make_video(tmp_path, Recipe("video.mp4", seconds=0.4))
    with path.open("rb") as file:
        info = probe(file)
        with pytest.raises(MediaError, match=r"BoxOutside: Box\(x=100.*which has 128×96 pixels"):
            list(decode_span(file, info, [(0, 400)], crop=Crop(Box(100, 0, 29, 96))))


def test_a_box_is_counted_on_the_picture_as_it_is_shown(tmp_path):
    """Stored lying on its side; the box is the upper left quarter of what is shown, whose corner is white."""
    recipe = Recipe("turned.mp4", seconds=0.4, rotation=(90, False, False))
    path = make_video(tmp_path, recipe)
    with path.open("rb") as file:
        info = probe(file)
        (clip,) = decode_span(file, info, [(0, 400)], crop=Crop(Box(0, 0, 32, 24)))
    assert (info.width, info.height) == (recipe.width, recipe.height)
    assert clip.frames[0].mean() > 150
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.width == recipe.height
