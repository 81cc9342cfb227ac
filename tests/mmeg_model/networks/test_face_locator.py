import math

import numpy as np
import pytest
import torch

from mmeg_model.networks.face_locator import FaceLocator, cut_out


@pytest.fixture(scope="module")
def drawn_face() -> torch.Tensor:
    """Eyes, brows, nose and mouth as grey shapes, 48×48."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    face = 190 - 40 * (x.square() + y.square())
    for centre_x in (-0.4, 0.4):
        face[((x - centre_x).abs() < 0.22) & ((y + 0.45).abs() < 0.05)] = 60
        face[((x - centre_x) / 0.16).square() + ((y + 0.22) / 0.08).square() < 1] = 40
    face[(x.abs() < 0.1) & ((y - 0.2).abs() < 0.04)] = 100
    face[(x / 0.32).square() + ((y - 0.55) / 0.09).square() < 1] = 70
    return face


@pytest.mark.parametrize(("left", "top"), [(4, 6), (44, 10), (30, 44), (8, 40)])
def test_a_drawn_face_is_found_wherever_it_is(drawn_face: torch.Tensor, left: int, top: int):
    """Of 48×44 pixels; its centre is found within 8 pixels."""
    frame = torch.full((96, 96), 110.0)
    frame[top : top + 48, left : left + 44] = torch.nn.functional.interpolate(
        drawn_face.view(1, 1, 48, 48), size=(48, 44), mode="bilinear"
    )[0, 0]

    box = FaceLocator()(frame.unsqueeze(0))[0]

    assert box[0].item() * 48 + 48 == pytest.approx(left + 22, abs=8)
    assert box[1].item() * 48 + 48 == pytest.approx(top + 24, abs=8)
    assert box[3].exp().item() * 96 == pytest.approx(48, rel=0.35)


def test_the_weights_are_left_alone():
    assert not any(weights.requires_grad for weights in FaceLocator().parameters())
    assert all(weights.requires_grad for weights in FaceLocator(trained=False).parameters())


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_a_plain_frame_has_a_finite_box(value: float):
    assert torch.isfinite(FaceLocator()(torch.full((1, 96, 96), value))).all()


def test_cut_out_by_hand():
    """A quarter of the frame's size about (0.25, -0.25): columns 48 to 72, rows 24 to 48."""
    frame = torch.arange(96.0).repeat(96, 1) + 1000 * torch.arange(96.0).unsqueeze(1)
    box = torch.tensor([[0.25, -0.25, math.log(0.25), math.log(0.25)]])

    assert torch.allclose(cut_out(frame.unsqueeze(0), box, 24, 1.0)[0], frame[24:48, 48:72], rtol=1e-4)


def test_outside_the_frame_is_its_edge():
    frame = torch.full((96, 96), 5.0)
    cut = cut_out(frame.unsqueeze(0), torch.tensor([[1.0, 1.0, 0.0, 0.0]]), 48, 1.2)
    assert np.allclose(cut, 5)
