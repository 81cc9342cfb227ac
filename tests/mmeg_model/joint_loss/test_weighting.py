"""What every weighting promises, each promise once, over all of them."""

import io
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmeg_model.joint_loss import AGGREGATORS, WEIGHTINGS, Weighting, make_weighting

TASKS = ("emotion", "gender", "age")
ALL = torch.ones(3, dtype=torch.bool)
SCALES = (0.0, 1e-10, 1.0, 1e10)
CASES = {
    "uniform": ("uniform", {}),
    "fixed": ("fixed", {"weights": [3.0, 1.0, 0.0]}),
    "softmax": ("softmax", {}),
    "uncertainty": ("uncertainty", {}),
    "dwa": ("dwa", {}),
    "rlw": ("rlw", {"seed": 3}),
    **{aggregator: ("torchjd", {"aggregator": aggregator}) for aggregator in AGGREGATORS},
}
every_weighting = pytest.mark.parametrize("case", CASES)


def make(case: str) -> Weighting:
    name, arguments = CASES[case]
    return make_weighting(name, TASKS, **arguments)


def losses_of(parameters: Tensor, values: Tensor) -> Tensor:
    """Losses of given values, whose gradients by the 4 parameters are as large and pull each other apart."""
    jacobian = torch.tensor([[1.0, 0.0, 0.5, 0.2], [-1.0, 1.0, 0.0, 0.3], [0.5, 1.0, -2.0, 0.1]])
    return values * (1 + jacobian @ (parameters - parameters.detach()))


def train(
    weighting: Weighting,
    *,
    num_epochs: int,
    first_epoch: int,
    optimizer: torch.optim.Optimizer,
    parameters: Tensor,
) -> list[Tensor]:
    """The weights before and at each step of a small training whose losses depend on epoch and step alone."""
    trace = [weighting.weights.clone()]
    for epoch in range(first_epoch, first_epoch + num_epochs):
        for step in range(4):
            labelled = torch.tensor([True, step != 1, step != 2])
            losses = losses_of(parameters, torch.tensor([1.0, 2.0, 0.5]) * 0.9**epoch + 0.1 * step) * labelled
            optimizer.zero_grad()
            weighting.joint_loss(losses, labelled).backward()
            optimizer.step()
            trace.append(weighting.weights.clone())
        weighting.end_epoch(torch.tensor([1.0, 2.0, 0.5]) ** epoch, torch.tensor([True, True, epoch != 1]))
    return trace


def test_all_are_tested():
    assert {name for name, _ in CASES.values()} == set(WEIGHTINGS)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", ["uniform", "fixed", "softmax", "rlw", "MGDA"])
def test_is_distribution(case: str, scale: float):
    # Not here: uncertainty (positive, any sum), dwa (sums to the number of tasks), the other aggregators.
    weighting = make(case)
    parameters = torch.nn.Parameter(torch.zeros(4))
    for values in torch.rand(5, 3, generator=torch.Generator().manual_seed(0)):
        losses = losses_of(parameters, scale * values)
        for weights in (weighting(losses), weighting.weights):
            assert weights.shape == losses.shape
            assert (weights >= 0).all()
            assert_close(weights.sum(), torch.ones(()))


@pytest.mark.parametrize("scale", SCALES)
@every_weighting
def test_any_scale_is_finite(case: str, scale: float):
    weighting = make(case)
    parameters = torch.nn.Parameter(torch.zeros(4))
    for _ in range(3):
        losses = losses_of(parameters, scale * torch.tensor([1.0, 0.3, 0.0]))
        joint_loss = weighting.joint_loss(losses, ALL)
        joint_loss.backward()
        weighting.end_epoch(losses, ALL)
        assert joint_loss.isfinite()
        assert weighting.weights.isfinite().all()
        for parameter in (parameters, *weighting.parameters()):
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@every_weighting
def test_not_finite(case: str, value: float):
    weighting = make(case)
    with pytest.raises(FloatingPointError, match=rf"that of gender is {value}: try a lower learning rate"):
        weighting.joint_loss(
            losses_of(torch.zeros(4, requires_grad=True), torch.tensor([1.0, value, 1.0])), ALL
        )


@every_weighting
def test_one_loss_a_task(case: str):
    with pytest.raises(ValueError, match=r"one loss for each of emotion, gender, age, got shape \(2,\)"):
        make(case).joint_loss(torch.ones(2), ALL[:2])


@every_weighting
def test_unlabelled_task_gets_no_gradient(case: str):
    # A parameter for each task, and one more for all: loss k = (head k) + (shared), so its gradients are 1 and 1.
    weighting = make(case)
    heads, shared = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0])), torch.nn.Parameter(torch.ones(1))
    labelled = torch.tensor([True, False, True])
    joint_loss = weighting.joint_loss((heads + shared) * labelled, labelled)
    joint_loss.backward()
    assert heads.grad[1] == 0
    assert heads.grad[0] > 0
    assert_close(shared.grad[0], heads.grad.sum())
    for parameter in weighting.parameters():
        assert parameter.grad[1] == 0


@every_weighting
def test_unlabelled_task_takes_its_weight_along(case: str):
    complete, partial = make(case), make(case)
    losses, labelled = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    parameters = torch.zeros(4, requires_grad=True)
    with_all = complete.joint_loss(losses_of(parameters, losses), ALL)
    with_some = partial.joint_loss(losses_of(parameters, losses) * labelled, labelled)
    if case in AGGREGATORS:  # what is left is weighted anew, by its gradients alone
        alone = make_weighting("torchjd", ("emotion", "age"), aggregator=case)
        expected = alone.joint_loss(losses_of(parameters, losses)[labelled], ALL[:2])
        assert partial.weights[1] == 0
    else:  # at the beginning the terms that `uncertainty` adds are 0
        expected = with_all - complete.weights[1] * losses[1]
    assert_close(with_some, expected)


@every_weighting
def test_no_label_at_all(case: str):
    weighting = make(case)
    parameters = torch.nn.Parameter(torch.zeros(4))
    joint_loss = weighting.joint_loss(losses_of(parameters, torch.ones(3)) * ~ALL, ~ALL)
    joint_loss.backward()
    assert joint_loss == 0
    for parameter in (parameters, *weighting.parameters()):
        assert not parameter.grad.any()


@every_weighting
def test_goes_on_from_a_checkpoint_bit_for_bit(case: str):
    def start() -> tuple[Weighting, Tensor, torch.optim.Optimizer]:
        weighting, parameters = make(case), torch.nn.Parameter(torch.zeros(4))
        return weighting, parameters, torch.optim.Adam([parameters, *weighting.parameters()], lr=0.05)

    torch.manual_seed(0)
    weighting, parameters, optimizer = start()
    train(weighting, num_epochs=3, first_epoch=0, optimizer=optimizer, parameters=parameters)
    checkpoint = io.BytesIO()
    state = {
        "weighting": weighting.state_dict(),
        "parameters": parameters.detach(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),  # PCGrad draws from it
    }
    torch.save(state, checkpoint)
    left_alone = train(weighting, num_epochs=3, first_epoch=3, optimizer=optimizer, parameters=parameters)

    torch.manual_seed(1)
    weighting, parameters, optimizer = start()
    checkpoint.seek(0)
    state = torch.load(checkpoint, weights_only=True)
    weighting.load_state_dict(state["weighting"])
    parameters.data.copy_(state["parameters"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    resumed = train(weighting, num_epochs=3, first_epoch=3, optimizer=optimizer, parameters=parameters)

    assert all(map(torch.equal, left_alone, resumed))
    if case not in ("uniform", "fixed"):
        assert not torch.equal(left_alone[0], left_alone[-1])


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 1, 0]])
@pytest.mark.parametrize("case", sorted(set(CASES) - {"fixed", "rlw", "PCGrad"}))
def test_permuted_tasks_have_permuted_weights(case: str, order: list[int]):
    # Not here: fixed (its weights belong to places), rlw and, with three tasks, PCGrad (they draw by place).
    weighting, permuted = make(case), make(case)
    for a in (weighting, permuted):
        parameters = torch.nn.Parameter(torch.zeros(4))
        optimizer = torch.optim.SGD([parameters, *a.parameters()], lr=0.1)
        for epoch in range(4):
            losses = losses_of(parameters, torch.tensor([1.0, 2.0, 0.5]) ** epoch)
            if a is permuted:
                losses = losses[order]
            optimizer.zero_grad()
            a.joint_loss(losses, ALL).backward()
            optimizer.step()
            a.end_epoch(losses, ALL)
    assert_close(permuted.weights, weighting.weights[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e10])
@pytest.mark.parametrize("case", ["dwa", *AGGREGATORS])
def test_weights_do_not_depend_on_the_scale(case: str, scale: float):
    weights = []
    for factor in (1.0, scale):
        torch.manual_seed(0)
        weighting = make(case)
        for epoch in range(3):
            losses = losses_of(
                torch.zeros(4, requires_grad=True), factor * torch.tensor([1.0, 2.0, 0.5]) ** epoch
            )
            weighting.joint_loss(losses, ALL)
            weighting.end_epoch(losses, ALL)
        weights.append(weighting.weights)
    assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)
