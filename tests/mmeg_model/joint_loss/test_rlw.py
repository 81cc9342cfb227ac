import torch
from torch import Tensor
from torch.testing import assert_close

from mmeg_model.joint_loss import RLWWeighting

TASKS = ("emotion", "gender")
LOSSES = torch.tensor([1.1, 0.1])


def draw(weighting: RLWWeighting, num_steps: int) -> Tensor:
    return torch.stack([weighting(LOSSES).clone() for _ in range(num_steps)])


def test_golden():
    # What a step draws is what a generator of that seed gives; of that the softmax: w_1 = 1 / (1 + exp(z_2 − z_1)).
    z = torch.randn(2, generator=torch.Generator().manual_seed(7))
    weighting = RLWWeighting(TASKS, seed=7)
    assert_close(weighting.weights, torch.tensor([0.5, 0.5]))  # before a step
    joint_loss = weighting.joint_loss(LOSSES, torch.tensor([True, True]))
    first = torch.sigmoid(z[0] - z[1])
    assert_close(joint_loss, 1.1 * first + 0.1 * (1 - first))
    assert_close(weighting.weights[0], first)


def test_distribution_of_the_draws():
    # By symmetry the mean is 1/2. z_1 − z_2 is normal with variance 2, so a quarter of the first weights are below
    # 1 / (1 + exp(0.6745 √2)) = 0.27811. Of 4000 draws the share of either side is within 4 · √(p (1 − p) / 4000).
    first = draw(RLWWeighting(TASKS, seed=0), 4000)[:, 0]
    assert abs((first < 0.5).float().mean() - 0.5) < 0.032
    assert abs((first < 0.27811).float().mean() - 0.25) < 0.028


def test_seed():
    assert torch.equal(draw(RLWWeighting(TASKS, seed=1), 3), draw(RLWWeighting(TASKS, seed=1), 3))
    assert not torch.equal(draw(RLWWeighting(TASKS, seed=1), 3), draw(RLWWeighting(TASKS, seed=2), 3))


def test_default_seed_is_torchs():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    by_default = draw(RLWWeighting(TASKS), 3)
    assert torch.equal(by_default, draw(RLWWeighting(TASKS, seed=5), 3))
    assert torch.equal(
        torch.get_rng_state(), before
    )  # what else is random does not change with the weighting
