import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLES_PER_FRAME, Clip
from mmeg_model.modalities import by_modalities, without_audio, without_video
from mmeg_model.training.augmentation import augment, crop, drop_modality, place_faces


def numbered(num_frames: int) -> Clip:
    """Each frame, and its 640 samples, carry its number."""
    number = np.arange(num_frames)
    return Clip(
        0,
        num_frames * FRAME_MS,
        np.broadcast_to(number[:, None, None, None], (num_frames, FRAME_SIZE, FRAME_SIZE, 3)).astype(
            np.uint8
        ),
        np.ones(num_frames, np.bool_),
        number.repeat(SAMPLES_PER_FRAME).astype(np.int16),
        np.ones(num_frames * SAMPLES_PER_FRAME, np.bool_),
    )


def tone(num_frames: int, *, hertz: float = 440, amplitude: float = 3000) -> Clip:
    time = np.arange(num_frames * SAMPLES_PER_FRAME) / 16_000
    samples = (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.int16)
    picture = (
        np.linspace(0, 255, FRAME_SIZE).astype(np.uint8)[:, None].repeat(3, axis=1)
    )  # dark left, light right
    frames = np.broadcast_to(picture, (num_frames, FRAME_SIZE, FRAME_SIZE, 3)).copy()
    return Clip(
        0, num_frames * FRAME_MS, frames, np.ones(num_frames, bool), samples, np.ones(len(samples), bool)
    )


def test_crop_takes_sound_and_picture_of_the_same_time():
    starts = set()
    for seed in range(30):
        part = crop(numbered(10), 4, np.random.default_rng(seed))
        first = int(part.frames[0, 0, 0, 0])
        starts.add(first)
        assert part.frames[:, 0, 0, 0].tolist() == [*range(first, first + 4)]
        assert part.samples[::SAMPLES_PER_FRAME].tolist() == [*range(first, first + 4)]
    assert starts == set(range(7))  # every place it fits into, the first and the last too


def test_crop_leaves_a_short_clip_alone():
    clip = numbered(4)
    assert crop(clip, 4, np.random.default_rng(0)) is clip


def test_by_modalities():
    clip = numbered(3)
    assert [(name, c.has_audio, c.has_video) for name, c in by_modalities(clip)] == [
        ("audio+video", True, True),
        ("audio", True, False),
        ("video", False, True),
    ]
    assert [name for name, _ in by_modalities(without_video(clip))] == ["audio"]
    assert [name for name, _ in by_modalities(without_audio(clip))] == ["video"]
    assert not without_audio(clip).samples.any()
    assert not without_video(clip).frames.any()


def test_a_modality_is_dropped_as_often_as_asked_and_never_both():
    random = np.random.default_rng(0)
    dropped = [drop_modality(numbered(2), 0.3, random) for _ in range(2000)]
    kept = np.array([(clip.has_audio, clip.has_video) for clip in dropped])
    assert kept.any(axis=1).all()
    assert kept.mean(axis=0) == pytest.approx([0.7, 0.7], abs=0.04)  # four standard errors


@pytest.mark.parametrize("only", [without_audio, without_video])
def test_the_only_modality_is_never_dropped(only):
    clip = only(numbered(2))
    assert all(drop_modality(clip, 0.5, np.random.default_rng(seed)) is clip for seed in range(20))


@settings(max_examples=30, deadline=None)
@given(num_frames=st.integers(1, 60), seed=st.integers(0, 10_000), data=st.data())
def test_augmented_clips_are_clips(num_frames: int, seed: int, data: st.DataObject):
    """The record itself checks its shapes; what is not valid stays zero; nothing is invented."""
    clip = data.draw(
        st.sampled_from([tone(num_frames), without_audio(tone(num_frames)), without_video(tone(num_frames))])
    )

    changed = augment(clip, np.random.default_rng(seed))

    assert not changed.samples[~changed.samples_valid].any()
    assert not changed.frames[~changed.frames_valid].any()
    assert changed.has_video == clip.has_video
    assert changed.samples_valid.any() <= clip.samples_valid.any()
    assert 0.8 * num_frames - 1 <= len(changed.frames) <= 1.25 * num_frames + 1


def test_pitch_follows_speed_and_keeps_near():
    """440 Hz played 0.88 to 1.14 times as fast, however filtered and noisy, is strongest at 387 to 502 Hz."""
    found = []
    for seed in range(20):
        samples = augment(without_video(tone(50)), np.random.default_rng(seed)).samples
        power = np.abs(np.fft.rfft(samples)) ** 2
        found.append(np.fft.rfftfreq(len(samples), 1 / 16_000)[power.argmax()])
    assert min(found) >= 385
    assert max(found) <= 505
    assert np.std(found) > 10


def test_pictures_are_mirrored_half_of_the_time():
    mirrored = []
    for seed in range(60):
        changed = augment(without_audio(tone(20)), np.random.default_rng(seed))
        frame = changed.frames[changed.frames_valid][0].astype(int)
        mirrored.append(frame[:, 0].sum() > frame[:, -1].sum())
    assert 15 < sum(mirrored) < 45


def test_pictures_become_faces_in_frames():
    """The same picture 40 times: no two are placed alike, and all stay grey."""
    picture = without_audio(tone(1))
    placed = place_faces([picture] * 40, np.random.default_rng(0))

    assert all(clip.frames.shape == picture.frames.shape and clip.has_video for clip in placed)
    assert all((clip.frames == clip.frames[..., :1]).all() for clip in placed)
    assert len({clip.frames.tobytes() for clip in placed}) == 40
