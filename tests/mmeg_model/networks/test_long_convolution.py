import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmeg_model.networks.long_convolution import LongConvolution

TOLERANCE = 1e-5
"""Largest absolute error over largest absolute value, in float32."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that share out little work wait for each other, for long where processors are shared."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


class Results(NamedTuple):
    y: Tensor
    x: Tensor
    weight: Tensor
    bias: Tensor


def results(layer: nn.Conv1d, x: Tensor, grad_y: Tensor, padding: tuple[int, int] = (0, 0)) -> Results:
    """The output and every gradient."""
    x = x.detach().requires_grad_()
    y = layer(nn.functional.pad(x, padding))
    return Results(y.detach(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), grad_y))


def truth(layer: LongConvolution, x: Tensor, grad_y: Tensor) -> Results:
    """The same from `nn.Conv1d`, directly and in float64."""
    direct = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size[0])
    direct.load_state_dict(layer.state_dict())
    return results(direct.double(), x.double(), grad_y.double(), layer.padding)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def assert_close_to_truth(layer: LongConvolution, x: Tensor) -> None:
    grad_y = 1 + torch.randn_like(layer(x.detach()))
    actual, expected = results(layer, x, grad_y), truth(layer, x, grad_y)
    for name in Results._fields:
        assert getattr(actual, name).shape == getattr(expected, name).shape
        assert relative_error(getattr(actual, name), getattr(expected, name)) < TOLERANCE, name
    with torch.no_grad():
        assert relative_error(layer(x), expected.y) < TOLERANCE


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equals_direct_convolution(data: st.DataObject) -> None:
    # A kernel of 5 is computed in blocks of 10 to 32 samples, 16 blocks at once: 300 samples are many.
    torch.manual_seed(data.draw(st.integers(0, 2**32)))
    kernel_size = data.draw(st.integers(1, 20))
    padding = data.draw(st.tuples(*[st.integers(0, kernel_size - 1)] * 2))
    shortest = max(1, kernel_size - sum(padding))
    num_samples = data.draw(st.integers(shortest, 300))
    num_clips, num_in, num_out = (data.draw(st.integers(1, largest)) for largest in (20, 3, 9))
    layer = LongConvolution(num_in, num_out, kernel_size, padding=padding)
    # Around 1: a gradient may be a single sum, and one that cancels is large beside its own value.
    assert_close_to_truth(layer, 1 + torch.randn(num_clips, num_in, num_samples))


# Outputs of a block of 5120 with 4000 taps: 5120 - 4000 + 1 = 1121, of 8192: 4193.
@pytest.mark.parametrize(
    ("num_clips", "num_samples"), [(1, 1), (3, 100), (1, 1121), (2, 1122), (1, 4193), (1, 4194)]
)
def test_kernel_of_the_paper(num_clips: int, num_samples: int) -> None:
    torch.manual_seed(0)
    layer = LongConvolution(2, 3, 4000, padding=(2000, 1999))
    assert_close_to_truth(layer, torch.randn(num_clips, 2, num_samples))


def test_layer_of_the_paper_at_some_places() -> None:
    """40 channels and 2 s; directly in float64, everywhere would take minutes."""
    torch.manual_seed(0)
    layer = LongConvolution(40, 40, 4000, padding=(2000, 1999))
    x, grad_y = torch.randn(2, 40, 16_000), torch.randn(2, 40, 16_000)
    actual = results(layer, x, grad_y)
    padded_x = nn.functional.pad(x, (2000, 1999)).double()  # sample m of x is sample m + 2000 here
    weight, bias, grad_y = layer.weight.detach().double(), layer.bias.detach().double(), grad_y.double()

    places = [0, 1, 1999, 2000, 4192, 4193, 8191, 12_345, 15_998, 15_999]
    y = [torch.einsum("oik,bik->bo", weight, padded_x[..., n : n + 4000]) + bias for n in places]
    assert relative_error(actual.y[..., places], torch.stack(y, -1)) < TOLERANCE
    # gx[m] sums w[k] gy[n] over n + k = m + 2000.
    padded_grad_y = nn.functional.pad(grad_y, (1999, 2000))  # its sample m + j is output m + j - 1999
    windows = [padded_grad_y[..., m : m + 4000] for m in places]
    grad_x = [torch.einsum("oik,bok->bi", weight.flip(-1), window) for window in windows]
    assert relative_error(actual.x[..., places], torch.stack(grad_x, -1)) < TOLERANCE
    taps = [0, 1, 1000, 1999, 2000, 3998, 3999]
    grad_weight = [torch.einsum("bon,bin->oi", grad_y, padded_x[..., k : k + 16_000]) for k in taps]
    assert relative_error(actual.weight[..., taps], torch.stack(grad_weight, -1)) < TOLERANCE
    assert relative_error(actual.bias, grad_y.sum(dim=(0, 2))) < TOLERANCE


@pytest.mark.parametrize("needed", [(x, w, b) for x in (0, 1) for w in (0, 1) for b in (0, 1) if x or w or b])
def test_gradients_in_float64(needed: tuple[bool, bool, bool]) -> None:
    torch.manual_seed(0)
    layer = LongConvolution(2, 3, 5, padding=(2, 1)).double()
    x = torch.randn(2, 2, 30, dtype=torch.float64, requires_grad=bool(needed[0]))
    layer.weight.requires_grad_(bool(needed[1]))
    layer.bias.requires_grad_(bool(needed[2]))
    given = [t for t in (x, layer.weight, layer.bias) if t.requires_grad]
    assert torch.autograd.gradcheck(lambda *_: layer(x), given)


def test_without_bias() -> None:
    torch.manual_seed(0)
    layer, direct = LongConvolution(2, 3, 7, bias=False), nn.Conv1d(2, 3, 7, bias=False)
    direct.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 50)
    actual, expected = layer(x), direct(x)
    assert relative_error(actual, expected) < TOLERANCE
    actual.sum().backward()
    expected.sum().backward()
    assert relative_error(layer.weight.grad, direct.weight.grad) < TOLERANCE


def test_input_that_is_not_contiguous() -> None:
    torch.manual_seed(0)
    layer = LongConvolution(2, 3, 7, padding=(3, 3))
    x = torch.randn(90, 4, 2).permute(1, 2, 0)[::2, :, ::3]
    assert not x.is_contiguous()
    assert_close_to_truth(layer, x)
    y = layer(x.detach().requires_grad_())
    y.mT.sum().backward()  # a gradient that is not contiguous either
    assert relative_error(layer.bias.grad, torch.full((3,), 2.0 * 30)) < TOLERANCE


def test_same_parameters_as_conv1d() -> None:
    torch.manual_seed(3)
    layer = LongConvolution(4, 6, 11, padding=(5, 5))
    torch.manual_seed(3)
    direct = nn.Conv1d(4, 6, 11)
    assert [*layer.state_dict()] == [*direct.state_dict()] == ["weight", "bias"]
    for name, parameter in direct.named_parameters():
        assert torch.equal(layer.get_parameter(name), parameter)
    direct.load_state_dict(layer.state_dict(), strict=True)
    assert str(layer) == "LongConvolution(4, 6, kernel_size=(11,), stride=(1,), padding=(5, 5))"


def test_gives_the_same_bits_every_time() -> None:
    torch.manual_seed(0)
    layer, x, grad_y = LongConvolution(8, 8, 500), torch.randn(2, 8, 9000), torch.randn(2, 8, 8501)
    first, second = results(layer, x, grad_y), results(layer, x, grad_y)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = LongConvolution(3, 2, 400, padding=(200, 199))
    x = torch.randn(2, 3, 1000).to(dtype)
    grad_y = torch.randn(2, 2, 1000).to(dtype)
    actual, expected = results(layer, x, grad_y), truth(layer, x, grad_y)
    assert (actual.y.dtype, actual.x.dtype) == (dtype, dtype)
    assert (actual.weight.dtype, actual.bias.dtype) == (torch.float32, torch.float32)
    # What is of the short type is off by its rounding alone, half of eps at most; the rest is not off at all.
    rounding = torch.finfo(dtype).eps
    assert relative_error(actual.y, expected.y) < rounding
    assert relative_error(actual.x, expected.x) < rounding
    assert relative_error(actual.weight, expected.weight) < TOLERANCE
    assert relative_error(actual.bias, expected.bias) < TOLERANCE


def test_under_autocast() -> None:
    torch.manual_seed(0)
    layer = LongConvolution(3, 2, 400)
    x = torch.randn(2, 3, 1000)
    grad_y = torch.randn(2, 2, 601).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        actual = results(layer, x, grad_y)
        assert nn.Conv1d(3, 2, 400)(x).dtype == actual.y.dtype == torch.bfloat16
    expected = truth(layer, x, grad_y)
    assert relative_error(actual.y, expected.y) < torch.finfo(torch.bfloat16).eps
    for name in ("x", "weight", "bias"):  # not touched by autocast
        assert getattr(actual, name).dtype == torch.float32
        assert relative_error(getattr(actual, name), getattr(expected, name)) < TOLERANCE


def test_kept_spectrum_follows_the_weight() -> None:
    torch.manual_seed(0)
    layer = LongConvolution(2, 2, 9).eval()
    x = torch.randn(1, 2, 40)

    def assert_current() -> None:
        expected = nn.functional.conv1d(x, layer.weight, layer.bias)
        with torch.inference_mode():
            assert relative_error(layer(x), expected) < TOLERANCE
            assert relative_error(layer(x.double()), expected) < TOLERANCE

    assert_current()
    with torch.no_grad():
        layer.weight.mul_(2)
    assert_current()
    layer.load_state_dict(LongConvolution(2, 2, 9).state_dict())
    assert_current()
    layer.load_state_dict(LongConvolution(2, 2, 9).state_dict(), assign=True)
    assert_current()
    layer.weight.data.mul_(2)
    assert_current()
    layer(x).sum().backward()
    assert_current()
    torch.optim.Adam(layer.parameters(), lr=1, fused=True).step()
    assert_current()
    layer = copy.deepcopy(layer)
    nn.init.ones_(layer.weight)
    assert_current()
    with torch.inference_mode():
        layer = LongConvolution(2, 2, 9).eval()
        layer(x)
        layer.weight.mul_(2)
        expected = nn.functional.conv1d(x, layer.weight, layer.bias)
        assert relative_error(layer(x), expected) < TOLERANCE


def test_weight_changed_before_the_backward_pass() -> None:
    layer = LongConvolution(2, 2, 9)
    y = layer(torch.randn(1, 2, 40))
    nn.init.ones_(layer.weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_gradients_of_gradients_are_refused() -> None:
    x = torch.randn(1, 2, 40, requires_grad=True)
    y = LongConvolution(2, 2, 9)(x)
    (grad_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_x.sum().backward()


@pytest.mark.parametrize("padding", [(9, 0), (0, 9), (-1, 0)])
def test_padding_out_of_range(padding: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=rf"must be in \[0, 8\] on either side, got \({padding[0]}, {padding[1]}"
    ):
        LongConvolution(2, 2, 9, padding=padding)


@pytest.mark.parametrize("shape", [(2, 40), (1, 3, 40), (0, 2, 40)])
def test_input_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"must be \(clips, 2, samples\), got \({shape[0]}, "):
        LongConvolution(2, 2, 9)(torch.zeros(shape))


@pytest.mark.parametrize(("num_samples", "padding"), [(8, (0, 0)), (5, (2, 1)), (0, (8, 8))])
def test_input_too_short(num_samples: int, padding: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"got {num_samples} samples and {sum(padding)} of padding"):
        LongConvolution(2, 2, 9, padding=padding)(torch.zeros(1, 2, num_samples))


PEAK_OF_A_TRAINING_STEP = """
import re, sys, torch
from mmeg_model.networks.long_convolution import LongConvolution

def kilobytes(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1])

def step(num_samples):
    x = torch.ones(1, 4, num_samples, requires_grad=True)
    y = layer(x)
    y.backward(y.detach())

torch.set_num_threads(1)
layer = LongConvolution(4, 4, 4000, padding=(2000, 1999))
step(50_000)  # what libraries take once is not the step's
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = kilobytes("VmRSS")
step(int(sys.argv[1]))
print(kilobytes("VmHWM") - before)
"""


def test_memory_grows_by_input_and_output_alone() -> None:
    # What is given back goes to the system at once: what malloc keeps changes from run to run.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    short, long = (
        1024
        * int(
            subprocess.check_output(
                [sys.executable, "-c", PEAK_OF_A_TRAINING_STEP, str(num_samples)], env=environment
            )
        )
        for num_samples in (500_000, 2_000_000)
    )
    # Input, output, gradient of the input: 3 tensors of 4 channels of float32. Spectra of everything would be 4
    # more, the windows of a direct convolution 4000.
    grown_by_tensors = 3 * 4 * 4 * 1_500_000
    assert long - short == pytest.approx(grown_by_tensors, rel=0.1)


@pytest.mark.gpu
def test_on_cuda() -> None:
    torch.manual_seed(0)
    layer = LongConvolution(3, 2, 4000, padding=(2000, 1999))
    x, grad_y = torch.randn(3, 3, 9000), torch.randn(3, 2, 9000)
    expected = truth(layer, x, grad_y)
    layer.cuda()
    first, second = (results(layer, x.cuda(), grad_y.cuda()) for _ in range(2))
    for name in Results._fields:
        assert relative_error(getattr(first, name).cpu(), getattr(expected, name)) < TOLERANCE, name
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        y = layer.eval()(x.cuda())
    assert y.dtype == torch.bfloat16
    assert relative_error(y.cpu(), expected.y) < torch.finfo(torch.bfloat16).eps
