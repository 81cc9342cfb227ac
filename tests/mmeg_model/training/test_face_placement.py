import numpy as np
import torch

from mmeg_model.networks.face_locator import cut_out
from mmeg_model.training.face_placement import place


def test_the_boxes_tell_where_the_pictures_lie():
    """Cut out again, a placed picture looks like the picture, turned a little and perhaps mirrored."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    picture = 128 + 100 * torch.exp(-8 * ((x.abs() - 0.4).square() + (y + 0.3).square())) - 60 * (y > 0.4)
    frames, boxes = place(picture.repeat(60, 1, 1), np.random.default_rng(0))

    inner = slice(8, 40)  # soft edges aside
    again = cut_out(frames, boxes, 48, 1.0)[:, inner, inner].flatten(1)
    original = torch.nn.functional.avg_pool2d(picture.unsqueeze(0), 2)[:, inner, inner].flatten(1)
    likeness = [np.corrcoef(face, original[0])[0, 1] for face in again]
    assert np.median(likeness) > 0.85


def test_frames_and_sizes():
    frames, boxes = place(torch.full((300, 48, 48), 100.0), np.random.default_rng(1))
    assert frames.shape == (300, 96, 96)
    assert frames.min() >= 0
    assert frames.max() <= 255
    heights = boxes[:, 3].exp()
    assert 0.36 < heights.min() < 0.45  # a face of a third of the frame is among them
    assert (heights > 0.9).float().mean() > 0.15
    assert (boxes[:, :2].abs() <= (1 - boxes[:, 2:].exp()).clamp(min=0) + 0.081).all()


def test_the_same_random_state_places_alike():
    pictures = torch.rand(3, 48, 48) * 255
    first, second = (place(pictures, np.random.default_rng(2))[0] for _ in range(2))
    assert torch.equal(first, second)
