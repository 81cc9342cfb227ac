"""The shapes are those of the authors' published code, worked out by hand for clips of 7 and 5 frames."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmeg_model.bundle import to_tensors
from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLES_PER_FRAME, Clip, pad
from mmeg_model.networks.paper import PaperNetwork
from mmeg_model.networks.presets import build

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def built() -> PaperNetwork:
    torch.manual_seed(0)
    return build("paper")


@pytest.fixture
def network(built: PaperNetwork) -> PaperNetwork:
    return built.eval()


@pytest.fixture
def small() -> PaperNetwork:
    """Of the same parts, with fewer blocks and taps."""
    torch.manual_seed(0)
    return build("paper", {"video": {"blocks": [1, 1, 1, 1]}, "audio": {"long_kernel": 400}})


def noise_clip(num_frames: int, seed: int = 0) -> Clip:
    random = np.random.default_rng(seed)
    return Clip(
        0,
        num_frames * FRAME_MS,
        random.integers(0, 256, (num_frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8),
        np.ones(num_frames, np.bool_),
        random.integers(-(2**13), 2**13, num_frames * SAMPLES_PER_FRAME).astype(np.int16),
        np.ones(num_frames * SAMPLES_PER_FRAME, np.bool_),
    )


def masked(clip: Clip, frames: slice, samples: slice) -> Clip:
    """The clip with nothing valid but these frames and samples."""
    frames_valid, samples_valid = np.zeros_like(clip.frames_valid), np.zeros_like(clip.samples_valid)
    frames_valid[frames] = samples_valid[samples] = True
    return Clip(
        clip.start_ms,
        clip.end_ms,
        clip.frames * frames_valid[:, None, None, None],
        frames_valid,
        clip.samples * samples_valid,
        samples_valid,
    )


def logits(network: nn.Module, *clips: Clip) -> Tensor:
    """Of all tasks beside each other, (clips, 6)."""
    return torch.cat([*network(*to_tensors(pad(clips), CPU)).values()], dim=1)


def record_outputs(
    network: nn.Module, outputs: dict[str, object]
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    for name, module in network.named_modules():
        yield module.register_forward_hook(lambda _module, _x, y, name=name: outputs.__setitem__(name, y))


@torch.no_grad()
def test_every_shape(network: PaperNetwork):
    outputs: dict[str, Tensor] = {}
    handles = [*record_outputs(network, outputs)]
    logits(network, noise_clip(7), noise_clip(5))
    for handle in handles:
        handle.remove()

    shapes = {
        # Sound: 7 frames of 640 samples are 4480.
        "audio.pad": (2, 1, 4480 + 40 + 39),
        "audio.short": (2, 40, 4480),  # 4559 - 80 + 1
        "audio.pool_time": (2, 40, 2240),
        "audio.long": (2, 40, 2240),  # 2240 + 2000 + 1999 - 4000 + 1
        "audio.pool_channels": (2, 2240, 4),  # 40 / 10, after swapping time and channel
        "audio": (2, 7, 1280),  # 320 positions a frame of 4 channels
        # Picture: 7 + 5 = 12 valid frames of 96 x 96.
        "video.backbone.conv1": (12, 64, 48, 48),
        "video.backbone.maxpool": (12, 64, 24, 24),
        "video.backbone.layer1": (12, 256, 24, 24),
        "video.backbone.layer2": (12, 512, 12, 12),
        "video.backbone.layer3": (12, 1024, 6, 6),
        "video.backbone.layer4": (12, 2048, 3, 3),
        "video.backbone.avgpool": (12, 2048, 1, 1),
        "video.backbone": (12, 2048),
        "video": (2, 7, 2048),
        "dropout": (2, 256),
        "heads.emotion": (2, 4),
        "heads.gender": (2, 2),
    }
    assert {name: tuple(outputs[name].shape) for name in shapes} == shapes
    packed, (hidden, cell) = outputs["lstm"]
    assert tuple(packed.data.shape) == (12, 256)  # the steps of both clips
    assert tuple(hidden.shape) == tuple(cell.shape) == (2, 2, 256)  # layers, clips
    assert network.lstm.input_size == 1280 + 2048 == 3328
    assert (network.audio.long.padding, network.audio.long.kernel_size) == ((2000, 1999), (4000,))
    blocks = [len(getattr(network.video.backbone, f"layer{stage}")) for stage in (1, 2, 3, 4)]
    assert blocks == [3, 4, 6, 3]
    assert network.dropout.p == 0.5


def test_number_of_parameters(network: PaperNetwork):
    counts = {
        name: sum(parameter.numel() for parameter in network.get_submodule(name).parameters())
        for name in ("audio.short", "audio.long", "video", "lstm", "heads.emotion", "heads.gender")
    }
    assert counts == {
        "audio.short": 3_240,  # 40 * 80 + 40
        "audio.long": 6_400_040,  # 40 * 40 * 4000 + 40
        # ResNet-50 has 25,557,032; its last layer of them 2048 * 1000 + 1000 = 2,049,000.
        "video": 23_508_032,
        # A layer has 4 * 256 rows for its input and its own output, and two biases:
        # 1024 * (3328 + 256) + 2048 = 3,672,064 and 1024 * (256 + 256) + 2048 = 526,336.
        "lstm": 4_198_400,
        "heads.emotion": 1_028,  # 256 * 4 + 4
        "heads.gender": 514,  # 256 * 2 + 2
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == sum(counts.values()) == 34_111_254


def test_lstm_starts_xavier_normal(network: PaperNetwork):
    # Standard deviation sqrt(2 / (inputs + outputs)), the matrix taken as a whole.
    for name, expected in {
        "weight_ih_l0": (2 / (3328 + 1024)) ** 0.5,
        "weight_hh_l0": (2 / (256 + 1024)) ** 0.5,
        "weight_ih_l1": (2 / (256 + 1024)) ** 0.5,
        "weight_hh_l1": (2 / (256 + 1024)) ** 0.5,
    }.items():
        weight = getattr(network.lstm, name)
        assert abs(weight.std().item() / expected - 1) < 0.01
        assert abs(weight.mean().item()) < 0.01 * expected


@torch.no_grad()
def test_heads_read_the_last_valid_frame(network: PaperNetwork):
    outputs: dict[str, Tensor] = {}
    handles = [*record_outputs(network, outputs)]
    actual = logits(network, noise_clip(7), noise_clip(5, seed=1))
    for handle in handles:
        handle.remove()
    features = torch.cat([outputs["audio"], outputs["video"]], dim=-1)
    for clip, num_frames in ((0, 7), (1, 5)):
        over_time, _ = network.lstm(features[clip : clip + 1, :num_frames])
        last = over_time[:, num_frames - 1]
        expected = torch.cat([head(last) for head in network.heads.values()], dim=1)
        torch.testing.assert_close(actual[clip : clip + 1], expected, rtol=0, atol=1e-5)


EVERYTHING = slice(None)
NOTHING = slice(0)


@pytest.mark.parametrize(
    ("frames", "samples"),
    [
        (EVERYTHING, EVERYTHING),
        (EVERYTHING, NOTHING),
        (NOTHING, EVERYTHING),
        (NOTHING, NOTHING),
        (slice(2, None), slice(1000, 2500)),
        (slice(3), slice(700, None)),
        (slice(1, 3), slice(1)),
    ],
)
@torch.no_grad()
def test_independent_of_neighbours_and_padding(network: PaperNetwork, frames: slice, samples: slice):
    clip = masked(noise_clip(6), frames, samples)
    alone = logits(network, clip)
    assert alone.isfinite().all()
    longer = logits(network, noise_clip(11, seed=1), clip, masked(noise_clip(2, seed=2), NOTHING, EVERYTHING))
    torch.testing.assert_close(longer[1:2], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_each_modality_counts(network: PaperNetwork):
    clip = noise_clip(6)
    both, sound, picture, none = logits(
        network,
        clip,
        masked(clip, NOTHING, EVERYTHING),
        masked(clip, EVERYTHING, NOTHING),
        masked(clip, NOTHING, NOTHING),
    )
    for one, other in ((both, sound), (both, picture), (sound, none), (picture, none)):
        assert (one - other).abs().max() > 1e-3


def test_batch_statistics_are_of_valid_frames(small: PaperNetwork):
    clips = noise_clip(3), noise_clip(2, seed=1)
    seen = copy.deepcopy(small), copy.deepcopy(small)
    for network, others in zip(seen, ((), (masked(noise_clip(9), NOTHING, EVERYTHING),)), strict=True):
        logits(network.train(), *clips, *others)
    alone, padded = (network.video.backbone.bn1 for network in seen)
    assert (alone.running_mean - small.video.backbone.bn1.running_mean).abs().max() > 1e-3
    torch.testing.assert_close(padded.running_mean, alone.running_mean)
    torch.testing.assert_close(padded.running_var, alone.running_var)


def test_one_step_of_training(built: PaperNetwork):
    network = copy.deepcopy(built).train()
    batch = to_tensors(pad([noise_clip(4), noise_clip(2, seed=1)]), CPU)
    labels = {"emotion": torch.tensor([1, 3]), "gender": torch.tensor([0, 1])}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    loss = sum(
        nn.functional.cross_entropy(of_task, labels[task]) for task, of_task in network(*batch).items()
    )
    loss.backward()
    optimizer.step()

    assert loss.isfinite()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("training", [False, True])
def test_under_autocast(small: PaperNetwork, training: bool):
    clips = noise_clip(4), noise_clip(3, seed=1)
    small.train(training)
    small.dropout.p = 0.0
    expected = logits(small, *clips)
    with torch.autocast("cpu", torch.bfloat16):
        actual = logits(small, *clips)
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=0.05)
    actual.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in small.parameters())


@pytest.mark.gpu
def test_on_cuda(small: PaperNetwork):
    clips = noise_clip(4), noise_clip(3, seed=1)
    batch = to_tensors(pad(clips), torch.device("cuda"))
    with torch.no_grad():
        expected = logits(small.eval(), *clips)
        actual = torch.cat([*small.cuda()(*batch).values()], dim=1)
    torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=1e-2)  # TF32 in the convolutions
    with torch.autocast("cuda", torch.bfloat16):
        torch.cat([*small.train()(*batch).values()], dim=1).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in small.parameters())
