"""How much faster the paper's layer of 4000 taps is by FFT than as `torch.nn.Conv1d`.

    python benchmarks/long_convolution.py

Wall time of the direct convolution over that of `LongConvolution` on the same input and weights, in turn, for
1, 4 and 6 s of sound: forward without gradients, as `mmeg annotate` runs it, with the kernel's spectrum kept
from the call before (`forward`) and made anew, as after each change of the weight (`forward_anew`), and a
training step's forward and backward pass with gradients of input, weight and bias (`forward_backward`). A run
is one direct call beside the median of five by FFT; since a direct call takes up to a minute, there are few of
them. Takes about five minutes, and needs the processors to itself: threads that wait for each other in the
middle of a transform make the short times longer, not the long ones.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from mmeg_model.networks.long_convolution import LongConvolution

PADDING = (2000, 1999)
SAMPLES_PER_SECOND = 8000
"""Of the layer's input: what the pooling before it leaves of 16 kHz."""
FORWARD_RUNS = {1: 5, 4: 3, 6: 3}
FORWARD_BACKWARD_RUNS = {1: 3, 4: 2, 6: 1}
FFT_CALLS_PER_RUN = 5


def wall_seconds(work: Callable[..., None], *arguments: object) -> float:
    before = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - before


def ratio_line(name: str, direct: list[float], fft: list[float]) -> str:
    """One closing line, from the times of each run."""
    ratios = [slow / fast for slow, fast in zip(direct, fft, strict=True)]
    return f"{name}: ratio={median(ratios):.1f} runs={len(ratios)}"


def main() -> None:
    torch.manual_seed(0)
    layer, direct_layer = LongConvolution(40, 40, 4000, padding=PADDING), nn.Conv1d(40, 40, 4000)
    direct_layer.load_state_dict(layer.state_dict())

    def by_fft(x: Tensor) -> Tensor:
        return layer(x)

    def directly(x: Tensor) -> Tensor:
        return direct_layer(nn.functional.pad(x, PADDING))

    @torch.inference_mode()
    def forward(convolve: Callable[[Tensor], Tensor], x: Tensor) -> None:
        convolve(x)

    def forward_anew(convolve: Callable[[Tensor], Tensor], x: Tensor) -> None:
        with torch.no_grad():
            layer.weight[0, 0, 0] = 0  # a change, however small
        forward(convolve, x)

    def forward_backward(convolve: Callable[[Tensor], Tensor], x: Tensor) -> None:
        y = convolve(x.detach().requires_grad_())
        y.backward(torch.ones_like(y))

    def fft_seconds(pass_: Callable[..., None], x: Tensor) -> float:
        pass_(by_fft, x)
        return median(wall_seconds(pass_, by_fft, x) for _ in range(FFT_CALLS_PER_RUN))

    lines = []
    for seconds, runs in FORWARD_RUNS.items():
        x = torch.randn(1, 40, SAMPLES_PER_SECOND * seconds)
        direct, kept, anew = [], [], []
        for _ in range(runs):
            direct.append(wall_seconds(forward, directly, x))
            kept.append(fft_seconds(forward, x))
            anew.append(fft_seconds(forward_anew, x))
            print(
                f"{seconds} s forward: {direct[-1]:.2f} s directly, {kept[-1]:.4f} s, anew {anew[-1]:.4f} s"
            )
        lines += [ratio_line(f"forward_{seconds}s", direct, kept)]
        lines += [ratio_line(f"forward_anew_{seconds}s", direct, anew)]
    for seconds, runs in FORWARD_BACKWARD_RUNS.items():
        x = torch.randn(1, 40, SAMPLES_PER_SECOND * seconds)
        direct, fft = [], []
        for _ in range(runs):
            direct.append(wall_seconds(forward_backward, directly, x))
            fft.append(fft_seconds(forward_backward, x))
            print(f"{seconds} s forward and backward: {direct[-1]:.2f} s directly, {fft[-1]:.4f} s")
        lines += [ratio_line(f"forward_backward_{seconds}s", direct, fft)]
    print(f"on {torch.get_num_threads()} threads")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
