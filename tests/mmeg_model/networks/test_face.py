import pytest
import torch

from mmeg_model.networks.face import FACE_SIZE, FaceNetwork, OrientedEdges

STEP = torch.zeros(1, FACE_SIZE, FACE_SIZE)
STEP[:, :, FACE_SIZE // 2 :] = 100


def test_an_edge_is_seen_by_the_direction_it_rises_in():
    """Dark left, light right: direction 0 (to the right) most, its neighbours less, the opposite not at all."""
    edges = OrientedEdges()(STEP)[0, :, 12, 11].tolist()  # in the column of cells before the edge
    assert max(edges) == edges[0]
    assert edges[1] == pytest.approx(edges[7])
    assert edges[1] == pytest.approx(edges[0] * 0.5**0.5, rel=1e-4)
    assert max(map(abs, edges[2:7])) < 1e-4


def test_light_and_contrast_hardly_matter():
    torch.manual_seed(0)
    face = torch.rand(1, FACE_SIZE, FACE_SIZE) * 200
    edges = OrientedEdges()
    assert torch.allclose(edges(face), edges(face * 0.6 + 40), atol=0.01)


def test_a_face_does_not_depend_on_others():
    torch.manual_seed(0)
    network = FaceNetwork((8, 8, 8), 16, 0.3).eval()
    faces = torch.rand(3, FACE_SIZE, FACE_SIZE) * 255
    assert torch.allclose(network(faces)[1], network(faces[1:2])[0], atol=1e-5)


def test_the_shape_of_a_face_stands_behind_what_is_learned():
    """The step lies between the second and the third of four columns of cells, and rises in direction 0."""
    network = FaceNetwork((8, 8, 8), 16, 0.3).eval()
    vector = network(STEP)[0]
    assert vector.shape == (network.num_outputs,) == (16 + 8 * 4 * 4,)
    edges = vector[16:].view(8, 4, 4)
    assert torch.allclose(edges[0, :, 1:3], edges.max())
    assert (edges[0, :, [0, 3]] < edges.max() - 1).all()
    assert torch.allclose(edges[4], edges.min())
    assert edges.mean().item() == pytest.approx(0, abs=1e-5)
