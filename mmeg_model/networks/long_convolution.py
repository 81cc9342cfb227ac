"""A one-dimensional convolution with thousands of taps, computed by FFT block by block, forward and backward.

Directly, the paper's layer of 4000 taps costs 51 billion multiplications per second of sound. Overlap-save
(forward) and its transpose, overlap-add (gradient of the input), need a few hundred times fewer (Oppenheim
and Schafer, Discrete-Time Signal Processing, section 8.7.3).

What neural networks call convolution is a correlation, hence the conjugates: y[n] = sum over k of w[k] x[n + k]
is Y = conj(W) X. Spectra have the frequency first, (F, C, M) for M blocks of C channels, so that a sum over
channels is one batched matrix product; they are worked on in bands of frequencies, and a kernel's spectrum lies
in memory so. One piece of 52 MB would be fetched from the system and given back at every use, and transposed
with a cache miss per number: each takes longer than the transforms.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BLOCKS_AT_ONCE: Final = 16
"""Of all clips of a batch together, but at least one of each clip: this bounds the memory."""
BINS_AT_ONCE: Final = 1024
"""Frequencies of a band."""
KEPT_FFT_LENGTH: Final = 2
"""Which of `_fft_lengths` a kept spectrum has: 8192 for 4000 taps."""
CHANNELS_AT_ONCE: Final = 4
"""Output channels whose kernels are transformed together: they should fit into the processor's cache."""


class LongConvolution(nn.Conv1d):
    """`nn.Conv1d` of stride 1 for long kernels: the same parameters, initialisation, state dict and results.

    In float32 they are within 1e-5 of the largest value, those of every gradient too. float64 is computed in
    float64, everything else in float32, also under autocast, which decides the type of the output alone. A
    value that is not finite spoils its whole block, not only what its kernel reaches.

    Beyond input, output and their gradients, memory does not grow with the length. The spectrum of the kernel
    takes two to four times the kernel's own memory; it is kept for the backward pass, and without gradients
    from call to call until the weight changes. Gradients of gradients are refused.

    Args:
        in_channels: as for `nn.Conv1d`.
        out_channels: as for `nn.Conv1d`.
        kernel_size: taps.
        padding: zeros put before and behind the input, each in [0, kernel_size - 1].
        bias: as for `nn.Conv1d`.

    Raises:
        ValueError: if the padding is outside its range.
    """

    padding: tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: tuple[int, int] = (0, 0),
        bias: bool = True,
    ) -> None:
        if not all(0 <= side < kernel_size for side in padding):
            raise ValueError(
                f"padding must be in [0, {kernel_size - 1}] on either side, got {padding}: more would give "
                "outputs that see no input"
            )
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)
        self.padding = padding
        self._kept: _KeptSpectrum | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x, (B, in_channels, N), to (B, out_channels, N + sum(padding) - kernel_size + 1).

        Raises:
            ValueError: if x has another shape, or is shorter than the kernel, padding included.
        """
        if x.ndim != 3 or x.shape[0] < 1 or x.shape[1] != self.in_channels:
            raise ValueError(f"input must be (clips, {self.in_channels}, samples), got {tuple(x.shape)}")
        num_outputs = x.shape[-1] + sum(self.padding) - self.kernel_size[0] + 1
        if x.shape[-1] < 1 or num_outputs < 1:
            raise ValueError(
                f"input must be at least as long as the kernel: got {x.shape[-1]} samples and {sum(self.padding)} "
                f"of padding for kernel_size {self.kernel_size[0]}"
            )
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        device = x.device.type
        out_dtype = x.dtype
        if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
            out_dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *self.parameters())):
                self._kept = None  # the weight is about to change
                g = _Geometry.of(self, x, num_outputs, _cheapest_fft_length(self, len(x), num_outputs))
                return _LongConvolution.apply(x, self.weight, self.bias, g, dtype, out_dtype)
            # One length for inputs of all lengths, so that the kept spectrum serves them all.
            g = _Geometry.of(self, x, num_outputs, _fft_lengths(self.kernel_size[0])[KEPT_FFT_LENGTH])
            return _convolve(x, self._spectrum(g, dtype), self.bias, g, out_dtype)

    def _spectrum(self, g: "_Geometry", dtype: torch.dtype) -> Sequence[Tensor]:
        kept = self._kept  # once: another thread may put another one there
        if kept is None or not kept.is_of(self.weight, dtype):
            weight = self.weight.detach()
            self._kept = kept = _KeptSpectrum(weight.clone(), _kernel_spectrum(weight, g, dtype))
        return kept.spectrum


class _KeptSpectrum(NamedTuple):
    weight: Tensor
    """A copy. To compare takes 2 ms; the version that autograd counts misses `.data` and fused optimisers."""
    spectrum: Sequence[Tensor]

    def is_of(self, weight: Tensor, dtype: torch.dtype) -> bool:
        alike = (self.weight.device, self.weight.dtype) == (weight.device, weight.dtype)
        return alike and self.spectrum[0].real.dtype == dtype and torch.equal(self.weight, weight)


class _Geometry(NamedTuple):
    kernel_size: int
    left: int
    """Padding before the input."""
    num_inputs: int
    """Samples, without padding."""
    num_outputs: int
    fft_length: int
    hop: int
    """Outputs of a block: those that do not wrap around."""
    num_outputs_at_once: int
    """Of each clip; whole blocks."""

    @classmethod
    def of(cls, layer: LongConvolution, x: Tensor, num_outputs: int, fft_length: int) -> "_Geometry":
        kernel_size, num_inputs = layer.kernel_size[0], x.shape[-1]
        hop = fft_length - kernel_size + 1
        num_blocks = -(-num_outputs // hop)
        num_rounds = -(-num_blocks // max(1, BLOCKS_AT_ONCE // len(x)))
        at_once = hop * -(-num_blocks // num_rounds)
        return cls(kernel_size, layer.padding[0], num_inputs, num_outputs, fft_length, hop, at_once)


def _fft_lengths(kernel_size: int) -> tuple[int, ...]:
    """Lengths that are transformed fast: 5120, 6144, 8192, 12288, 16384 for 4000 taps."""
    quarter = max(4, 2 ** kernel_size.bit_length()) // 4
    return tuple(quarter * factor for factor in (5, 6, 8, 12, 16))


def _cheapest_fft_length(layer: LongConvolution, num_clips: int, num_outputs: int) -> int:
    """The length with the least to transform: a kernel per pair of channels, and per block all channels.

    Within a tenth of the fastest of 4096 to 32768 where that was measured: one clip of 1, 4 and 6 s, eight of 6 s.
    """

    def cost(fft_length: int) -> int:
        num_blocks = num_clips * -(-num_outputs // (fft_length - layer.kernel_size[0] + 1))
        num_channels = layer.in_channels + layer.out_channels
        return fft_length * (layer.in_channels * layer.out_channels + num_blocks * num_channels)

    return min(_fft_lengths(layer.kernel_size[0]), key=cost)


class _LongConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        g: _Geometry,
        dtype: torch.dtype,
        out_dtype: torch.dtype,
    ) -> Tensor:
        spectrum = _kernel_spectrum(weight, g, dtype)
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        # The weight itself is saved so that autograd notices if somebody changes it in between.
        ctx.save_for_backward(x if needs_weight else None, weight, *(spectrum if needs_x else ()))
        ctx.g, ctx.dtype, ctx.x_dtype = g, dtype, x.dtype
        return _convolve(x, spectrum, bias, g, out_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        x, weight, *spectrum = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        with torch.autocast(grad_y.device.type, enabled=False):
            if needs_x:
                grad_x = _input_gradient(grad_y, spectrum, ctx.g).to(ctx.x_dtype)
            if needs_weight:
                grad_weight = _kernel_gradient(grad_y, x, ctx.g, ctx.dtype).to(weight.dtype)
            if needs_bias:  # in float64: a long sum of both signs cancels
                parts = grad_y.split(ctx.g.num_outputs_at_once, -1)
                grad_bias = sum(part.double().sum(dim=(0, 2)) for part in parts).to(weight.dtype)
        return grad_x, grad_weight, grad_bias, None, None, None


def _convolve(
    x: Tensor, spectrum: Sequence[Tensor], bias: Tensor | None, g: _Geometry, out_dtype: torch.dtype
) -> Tensor:
    """Overlap-save: of each block, those outputs count that do not wrap around."""
    num_channels, dtype = spectrum[0].shape[1], spectrum[0].real.dtype
    y = x.new_empty(len(x), num_channels, g.num_outputs, dtype=out_dtype)
    for start in range(0, g.num_outputs, g.num_outputs_at_once):
        bands = zip(spectrum, _input_spectrum(x, start, g, dtype), strict=True)
        blocks = _to_time((conj_w @ x_band for conj_w, x_band in bands), g)  # (B * blocks, O, fft_length)
        part = blocks[..., : g.hop].unflatten(0, (len(x), -1)).transpose(1, 2).flatten(2)
        if bias is not None:
            part = part + bias.to(dtype).unsqueeze(-1)
        y[..., start : start + g.num_outputs_at_once] = part[..., : g.num_outputs - start]
    return y


def _input_gradient(grad_y: Tensor, spectrum: Sequence[Tensor], g: _Geometry) -> Tensor:
    """Overlap-add: each block reaches kernel_size - 1 samples into the next one."""
    num_channels, dtype = spectrum[0].shape[2], spectrum[0].real.dtype
    grad_x = grad_y.new_zeros(len(grad_y), num_channels, g.num_inputs, dtype=dtype)
    for start in range(0, g.num_outputs, g.num_outputs_at_once):
        bands = zip(spectrum, _output_spectrum(grad_y, start, g, dtype), strict=True)
        # conj(GX) = conj(W)^T conj(GY): so the kept spectrum serves as it lies.
        blocks = _to_time(((conj_w.mT @ gy_band.conj()).conj() for conj_w, gy_band in bands), g)
        for number, block in enumerate(
            blocks.unflatten(0, (len(grad_y), -1)).unbind(1)
        ):  # (B, I, fft_length)
            first = start + number * g.hop - g.left
            begin, end = max(first, 0), min(first + g.fft_length, g.num_inputs)
            if begin < end:
                grad_x[..., begin:end] += block[..., begin - first : end - first]
    return grad_x


def _kernel_gradient(grad_y: Tensor, x: Tensor, g: _Geometry, dtype: torch.dtype) -> Tensor:
    """gw[k] = sum over n of gy[n] x[n + k]; the blocks are summed as spectra."""
    grad_weight = x.new_zeros(grad_y.shape[1], x.shape[1], g.kernel_size, dtype=dtype)
    products = _kernel_bands(grad_weight, g)
    for start in range(0, g.num_outputs, g.num_outputs_at_once):
        of_grad_y, of_x = _output_spectrum(grad_y, start, g, dtype), _input_spectrum(x, start, g, dtype)
        for product, gy_band, x_band in zip(products, of_grad_y, of_x, strict=True):
            product.baddbmm_(gy_band.conj(), x_band.mT, beta=0 if start == 0 else 1)
    for channels in _channel_groups(grad_weight):
        taps = _to_time((product[:, channels] for product in products), g)  # (I, 4, fft_length)
        grad_weight[channels] = taps[..., : g.kernel_size].transpose(0, 1)
    return grad_weight


def _kernel_spectrum(weight: Tensor, g: _Geometry, dtype: torch.dtype) -> list[Tensor]:
    """conj(W), in bands."""
    weight = weight.to(dtype)
    spectrum = _kernel_bands(weight, g)
    for channels in _channel_groups(weight):
        transformed = torch.fft.rfft(weight[channels], n=g.fft_length)  # (4, I, F)
        for band, bins in zip(spectrum, transformed.split(BINS_AT_ONCE, -1), strict=True):
            band[:, channels] = bins.permute(2, 0, 1).conj()
    return spectrum


def _kernel_bands(weight: Tensor, g: _Geometry) -> list[Tensor]:
    """Room for a spectrum of all kernels, (F, O, I), in bands."""
    num_bins, dtype = g.fft_length // 2 + 1, weight.dtype.to_complex()
    sizes = [min(BINS_AT_ONCE, num_bins - first) for first in range(0, num_bins, BINS_AT_ONCE)]
    return [weight.new_empty(size, *weight.shape[:2], dtype=dtype) for size in sizes]


def _channel_groups(weight: Tensor) -> list[slice]:
    return [slice(first, first + CHANNELS_AT_ONCE) for first in range(0, len(weight), CHANNELS_AT_ONCE)]


def _input_spectrum(x: Tensor, start: int, g: _Geometry, dtype: torch.dtype) -> Sequence[Tensor]:
    """X, (F, I, B * blocks), in bands, of all that the outputs from start on look at."""
    part = _cut(x, start - g.left, g.num_outputs_at_once + g.kernel_size - 1).to(dtype)
    return _to_frequency(part.unfold(-1, g.fft_length, g.hop), g)


def _output_spectrum(y: Tensor, start: int, g: _Geometry, dtype: torch.dtype) -> Sequence[Tensor]:
    """Y, (F, O, B * blocks), in bands, of the outputs from start on."""
    part = _cut(y, start, g.num_outputs_at_once).to(dtype)
    return _to_frequency(part.unflatten(-1, (-1, g.hop)), g)


def _cut(signal: Tensor, start: int, length: int) -> Tensor:
    """The samples [start, start + length) of a signal that is zero outside its own."""
    return nn.functional.pad(signal, (-start, start + length - signal.shape[-1]))


def _to_frequency(blocks: Tensor, g: _Geometry) -> Sequence[Tensor]:
    """(B, C, blocks, at most fft_length) -> (F, C, B * blocks), in bands."""
    spectra = torch.fft.rfft(blocks, n=g.fft_length).permute(3, 1, 0, 2).flatten(2)
    return spectra.contiguous().split(BINS_AT_ONCE)  # else the matrix product loops over the frequencies


def _to_time(bands: Iterable[Tensor], g: _Geometry) -> Tensor:
    """(F, C, M), in bands -> (M, C, fft_length)."""
    return torch.fft.irfft(torch.cat([band.permute(2, 1, 0) for band in bands], dim=-1), n=g.fft_length)
