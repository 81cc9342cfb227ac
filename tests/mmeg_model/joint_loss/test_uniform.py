import torch
from torch.testing import assert_close

from mmeg_model.joint_loss import UniformWeighting


def test_golden():
    weighting = UniformWeighting(["emotion", "gender", "age"])
    joint_loss = weighting.joint_loss(torch.tensor([1.1, 0.1, 0.6]), torch.tensor([True, True, True]))
    assert_close(joint_loss, torch.tensor(0.6), rtol=0, atol=1e-6)  # (1.1 + 0.1 + 0.6) / 3
