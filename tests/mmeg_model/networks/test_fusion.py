import torch

from mmeg_model.networks.fusion import Evidence


def test_shapes_and_no_dependence_on_scale():
    torch.manual_seed(0)
    evidence = Evidence(8, {"emotion": 4, "gender": 2}, 0.5).eval()
    vectors = torch.randn(3, 8)
    said = evidence(vectors)
    assert {task: tuple(of.shape) for task, of in said.items()} == {"emotion": (3, 4), "gender": (3, 2)}
    louder = evidence(1000 * vectors)
    assert all(torch.allclose(louder[task], said[task], atol=1e-3) for task in said)
