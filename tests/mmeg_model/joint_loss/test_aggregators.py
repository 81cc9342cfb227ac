import os
import subprocess
import sys

import pytest
import torch
import torchjd.aggregation
from torch import Tensor, nn
from torch.testing import assert_close
from torchjd.autojac import backward, jac_to_grad

from mmeg_model.joint_loss import AGGREGATORS, TorchjdWeighting, task_losses

TASKS = ("emotion", "gender")
BOTH = torch.tensor([True, True])


def weights_for(aggregator: str, jacobian: list[list[float]]) -> Tensor:
    """Weights for losses that are linear in the parameters, with these gradients."""
    weighting = TorchjdWeighting(TASKS, aggregator)
    parameters = nn.Parameter(torch.zeros(2))
    matrix = torch.tensor(jacobian, dtype=torch.float32)
    losses = matrix @ parameters + 1
    joint_loss = weighting.joint_loss(losses, BOTH)
    joint_loss.backward()
    assert_close(parameters.grad, weighting.weights @ matrix)
    return weighting.weights


@pytest.mark.parametrize(
    ("aggregator", "weights"),
    [
        # Gradients (1, 0) and (0, 2) do not pull each other apart.
        ("MGDA", [0.8, 0.2]),  # the shortest of the convex combinations: |g_2|² : |g_1|² = 4 : 1
        ("PCGrad", [1.0, 1.0]),  # nothing to project: the sum
        ("UPGrad", [0.5, 0.5]),  # nothing to project: the mean
        ("DualProj", [0.5, 0.5]),
        ("IMTLG", [2 / 3, 1 / 3]),  # equal projections on both, w_1 · 1 = w_2 · 2, summing to 1
        ("AlignedMTL", [0.5, 0.25]),  # the mean of both scaled to the smallest singular value: g_1, g_2 / 2
    ],
)
def test_golden_without_conflict(aggregator: str, weights: list[float]):
    # torchjd adds 1e-4 to the diagonal of UPGrad's and DualProj's problem.
    assert_close(weights_for(aggregator, [[1, 0], [0, 2]]), torch.tensor(weights), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("aggregator", "weights"),
    [
        # Gradients (1, 0) and (−1, 1): g_1 · g_2 = −1, |g_1|² = 1, |g_2|² = 2.
        ("MGDA", [0.6, 0.4]),  # w² − 2 w (1 − w) + 2 (1 − w)² = 5 w² − 6 w + 2 is least at w = 3/5
        ("PCGrad", [2.0, 1.5]),  # (g_1 + g_2 / 2) + (g_2 + g_1)
        ("UPGrad", [1.0, 0.75]),  # half of that: with two tasks the same projections, of the mean
        ("DualProj", [0.5, 0.5]),  # the mean (0, 1/2) is at no angle above 90° with either
        ("IMTLG", [2**0.5 / (1 + 2**0.5), 1 / (1 + 2**0.5)]),  # the bisector: w_1 |g_1| = w_2 |g_2|
    ],
)
def test_golden_with_conflict(aggregator: str, weights: list[float]):
    assert_close(weights_for(aggregator, [[1, 0], [-1, 1]]), torch.tensor(weights), rtol=0, atol=1e-3)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_gradients_equal_torchjds(aggregator: str):
    # A scalar and an LSTM among the parameters; the whole path of torchjd itself as the oracle.
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 5, batch_first=True)
            self.scale = nn.Parameter(torch.ones(()))
            self.heads = nn.ModuleDict({"emotion": nn.Linear(5, 4), "gender": nn.Linear(5, 2)})

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            h = self.scale * self.lstm(x)[0][:, -1]
            return {task: head(h) for task, head in self.heads.items()}

    torch.manual_seed(0)
    network = Network()
    x, labels = torch.randn(6, 7, 3), {"emotion": torch.arange(6) % 4, "gender": torch.arange(6) % 2}
    parameters = [*network.parameters()]

    losses, counts = task_losses(network(x), labels)
    weighting = TorchjdWeighting(TASKS, aggregator)
    weighting.joint_loss(losses, counts > 0).backward()
    ours = [parameter.grad for parameter in parameters]

    network.zero_grad()
    losses, _ = task_losses(network(x), labels)
    backward(losses, parallel_chunk_size=1)
    weights = jac_to_grad(parameters, getattr(torchjd.aggregation, aggregator)())
    assert_close(weighting.weights, weights, rtol=1e-3, atol=1e-4)
    for our, parameter in zip(ours, parameters, strict=True):
        assert_close(our, parameter.grad, rtol=1e-3, atol=1e-4)


def test_gradient_not_finite():
    a, b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    losses = torch.stack([a.sqrt(), b])  # 0 both, the first with an infinite gradient
    with pytest.raises(FloatingPointError, match="a gradient must be finite, that of emotion is inf"):
        TorchjdWeighting(TASKS).joint_loss(losses, BOTH)


ONE_OF_TWO = """
import sys, torch
from mmeg_model.joint_loss import make_weighting
weighting = make_weighting("torchjd")
rank, rendezvous = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
for attempt in (
    lambda: make_weighting("torchjd"),
    lambda: weighting.joint_loss(torch.ones(2, requires_grad=True) * 1, torch.tensor([True, True])),
):
    try:
        attempt()
    except ValueError as error:
        print(error)
torch.distributed.barrier()  # else one may be gone before the other has connected
torch.distributed.destroy_process_group()
"""


def test_several_processes_are_refused(tmp_path):
    command = [sys.executable, "-c", ONE_OF_TWO]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "rendezvous")],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert output.count("needs the gradients of the whole batch and so one process, there are 2") == 2


@pytest.mark.parametrize("aggregator", ["UPGrad", "DualProj"])
def test_without_quadprog(aggregator: str):
    """In a process of its own, which cannot import it."""
    script = f"""
import sys
sys.modules["quadprog"] = None
from mmeg_model.joint_loss import make_weighting
try:
    make_weighting("torchjd", aggregator={aggregator!r})
except ValueError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"the aggregator '{aggregator}' needs quadprog" in ran.stdout
    assert "pip install 'mmeg[upgrad]'" in ran.stdout
