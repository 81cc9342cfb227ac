import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeg_model.bundle import to_tensors
from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLES_PER_FRAME, Clip, pad
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.presets import build

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("compact").eval()


def noise_clip(num_frames: int, seed: int) -> Clip:
    random = np.random.default_rng(seed)
    return Clip(
        0,
        num_frames * FRAME_MS,
        random.integers(0, 256, (num_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8),
        np.ones(num_frames, np.bool_),
        random.integers(-(2**15), 2**15, num_frames * SAMPLES_PER_FRAME).astype(np.int16),
        np.ones(num_frames * SAMPLES_PER_FRAME, np.bool_),
    )


def with_valid(clip: Clip, frames_valid: np.ndarray, samples_valid: np.ndarray) -> Clip:
    """The clip with what is not valid masked and zero, as the decoder gives it."""
    return Clip(
        clip.start_ms,
        clip.end_ms,
        clip.frames * frames_valid[:, None, None, None],
        frames_valid,
        clip.samples * samples_valid,
        samples_valid,
    )


@torch.inference_mode()
def probabilities(network: torch.nn.Module, *clips: Clip) -> np.ndarray:
    """Of all tasks beside each other, (clips, labels)."""
    return torch.cat([of.softmax(1) for of in network(*to_tensors(pad(clips), CPU)).values()], dim=1).numpy()


def silent(num_frames: int, *, video: bool = True, audio: bool = True) -> Clip:
    """Black and silent, where it is valid at all."""
    return with_valid(
        noise_clip(num_frames, 0),
        np.full(num_frames, video),
        np.full(num_frames * SAMPLES_PER_FRAME, audio),
    )


def test_shapes(network: torch.nn.Module):
    logits = network(*to_tensors(pad([noise_clip(7, 1), noise_clip(30, 2)]), CPU))
    assert {task: tuple(of_task.shape) for task, of_task in logits.items()} == {
        task: (2, len(labels)) for task, labels in LABELS_BY_TASK.items()
    }


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    """With holes in picture and sound, whole modalities missing, of one frame to two seconds."""
    num_frames = draw(st.integers(1, 50))
    valid = []
    for length in (num_frames, num_frames * SAMPLES_PER_FRAME):
        holes = draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), max_size=3))
        kept = np.ones(length, np.bool_)
        for one, other in holes:
            kept[min(one, other) : max(one, other)] = False
        valid.append(kept)
    return with_valid(noise_clip(num_frames, draw(st.integers(0, 3))), *valid)


@settings(max_examples=12, deadline=None)
@given(clip=clips(), neighbours=st.lists(clips(), min_size=1, max_size=2), place=st.integers(0, 2))
def test_a_clip_does_not_depend_on_neighbours_or_padding(
    network: torch.nn.Module, clip: Clip, neighbours: list[Clip], place: int
):
    place = min(place, len(neighbours))
    batch = [*neighbours[:place], clip, *neighbours[place:]]
    alone = probabilities(network, clip)[0]
    assert np.abs(probabilities(network, *batch)[place] - alone).max() < 1e-5


@pytest.mark.parametrize("num_padded", [1, 2, 3, 4, 5, 50])
def test_padding_behind_the_last_frame(network: torch.nn.Module, num_padded: int):
    clip = noise_clip(11, 3)
    alone, padded = (
        probabilities(network, clip)[0],
        probabilities(network, clip, noise_clip(11 + num_padded, 4))[0],
    )
    assert np.abs(padded - alone).max() < 1e-5


def test_what_is_masked_is_not_looked_at(network: torch.nn.Module):
    """Whatever lies where nothing is valid, even if it is not the zeros that were promised."""
    clip = noise_clip(40, 5)
    batch = pad([clip])
    batch.frames_valid[:, 10:25] = False
    batch.samples_valid[:, 3000:9000] = False
    with torch.inference_mode():
        full = network(*to_tensors(batch, CPU))
        batch.frames[:, 10:25] = 7
        batch.samples[:, 3000:9000] = -12345
        other = network(*to_tensors(batch, CPU))
    assert all(torch.allclose(full[task], other[task], rtol=0, atol=1e-6) for task in full)


@pytest.mark.parametrize("missing", ["audio", "video"])
def test_a_missing_modality_is_not_a_silent_or_black_one(network: torch.nn.Module, missing: str):
    clip = noise_clip(30, 6)
    audio, video = missing != "audio", missing != "video"
    without = with_valid(clip, np.full(30, video), np.full(30 * SAMPLES_PER_FRAME, audio))
    zeros = Clip(0, clip.end_ms, without.frames, clip.frames_valid, without.samples, clip.samples_valid)
    assert np.abs(probabilities(network, without) - probabilities(network, zeros)).max() > 1e-4


LOUD = np.full(25 * SAMPLES_PER_FRAME, 32767, np.int16)
LOUD[::2] = -32768


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(silent(25), id="black and silent"),
        pytest.param(silent(1), id="one black and silent frame"),
        pytest.param(silent(25, video=False), id="silence alone"),
        pytest.param(silent(25, audio=False), id="black alone"),
        pytest.param(silent(25, audio=False, video=False), id="nothing at all"),
        pytest.param(noise_clip(25, 0), id="noise of full scale"),
        pytest.param(
            Clip(
                0,
                1000,
                np.full((25, 96, 96, 3), 255, np.uint8),
                np.ones(25, bool),
                LOUD,
                np.ones(len(LOUD), bool),
            ),
            id="white and as loud as can be",
        ),
    ],
)
def test_no_clip_poisons_its_batch(network: torch.nn.Module, clip: Clip):
    neighbour = noise_clip(30, 7)
    beside, alone = probabilities(network, clip, neighbour), probabilities(network, neighbour)
    assert np.isfinite(beside).all()
    assert np.allclose(beside.sum(axis=1), len(LABELS_BY_TASK), atol=1e-5)
    assert np.abs(beside[1] - alone[0]).max() < 1e-5


@pytest.mark.parametrize("clip", [silent(25), noise_clip(25, 0), silent(25, video=False, audio=False)])
def test_gradients_stay_finite(clip: Clip):
    network = build("compact").train()
    logits = network(*to_tensors(pad([clip, noise_clip(9, 1)]), CPU))
    sum(of_task.sum() for of_task in logits.values()).backward()
    gradients = [weights.grad for weights in network.parameters()]
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)
    assert any(gradient.abs().max() > 0 for gradient in gradients if gradient is not None)


def test_what_both_say_is_the_sum_of_what_each_says(network: torch.nn.Module):
    both = noise_clip(30, 8)
    audio = with_valid(both, np.zeros(30, np.bool_), both.samples_valid)
    video = with_valid(both, both.frames_valid, np.zeros(len(both.samples), np.bool_))
    nothing = silent(30, audio=False, video=False)
    with torch.inference_mode():
        logits = network(*to_tensors(pad([both, audio, video, nothing]), CPU))
    for of_both, of_audio, of_video, of_nothing in logits.values():
        assert torch.allclose(of_both, of_audio + of_video, atol=1e-5)
        assert not of_nothing.any()


@pytest.mark.parametrize(("missing", "kept"), [("audio", "video"), ("video", "audio")])
def test_a_modality_that_nobody_has_gets_no_gradient(missing: str, kept: str):
    clip = noise_clip(9, 1)
    audio, video = missing != "audio", missing != "video"
    without = with_valid(clip, np.full(9, video), np.full(9 * SAMPLES_PER_FRAME, audio))
    network = build("compact").train()
    sum(of_task.sum() for of_task in network(*to_tensors(pad([without]), CPU)).values()).backward()
    gradients = {name: weights.grad is not None for name, weights in network.named_parameters()}
    assert not any(there for name, there in gradients.items() if missing in name)
    assert any(there for name, there in gradients.items() if kept in name)


def test_measuring_makes_features_alike(network: torch.nn.Module):
    torch.manual_seed(0)
    measured = build("compact")
    batch = pad([noise_clip(30, seed) for seed in range(6)])
    samples, valid = torch.from_numpy(batch.samples), torch.from_numpy(batch.samples_valid)
    measured.measure(samples, valid)
    features = measured.audio.standardise(measured.audio.features(samples, valid))
    assert features.mean(dim=0).abs().max() < 0.01
    assert features.std(dim=0).median() > 0.8
