import torch

from mmeg_model.networks.video import VideoBranch, VideoConfig


def frames_and_valid(num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (1, num_frames, 96, 96, 3), dtype=torch.uint8, generator=random)
    return frames, torch.ones(1, num_frames, dtype=torch.bool)


def branch() -> VideoBranch:
    torch.manual_seed(0)
    return VideoBranch(VideoConfig(), 16).eval()


@torch.inference_mode()
def test_one_frame_in_five_is_looked_at():
    network, (frames, valid) = branch(), frames_and_valid(10)
    before = network(frames, valid)
    others = frames.clone()
    others[:, [1, 2, 3, 4, 6, 7, 8, 9]] = 0
    assert torch.equal(network(others, valid), before)
    others[:, 5] = 0
    assert not torch.allclose(network(others, valid), before)


@torch.inference_mode()
def test_colours_are_not_looked_at():
    """Grey, and a bluish picture as light: 0.299 * 1 - 0.587 * 31 + 0.114 * 157 = 0."""
    network, (frames, valid) = branch(), frames_and_valid(1)
    grey = (60 + frames[..., :1] // 7).expand_as(frames)  # 60 to 96: neither green nor blue overflow
    bluish = (grey.int() + torch.tensor([1, -31, 157])).to(torch.uint8)
    assert torch.allclose(network(grey, valid), network(bluish, valid), atol=1e-3)


def test_training_jitters_the_boxes_and_leaves_the_locator_alone():
    network, (frames, valid) = branch().train(), frames_and_valid(6)
    network.face_network.eval()  # without its dropout
    first, second = network(frames, valid), network(frames, valid)
    assert not torch.allclose(first, second)
    first.sum().backward()
    assert all(weights.grad is None for weights in network.locator.parameters())
    assert all(weights.grad is not None for weights in network.face_network.parameters())
