"""Decoded sound -> 16 kHz mono on the video's clock."""

from collections.abc import Callable
from fractions import Fraction
from math import gcd
from typing import Final

import numpy as np
from av import AudioResampler
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from mmeg_model.clip import SAMPLE_RATE_HZ, SAMPLES_PER_MS
from mmeg_model.media.container import Clock
from mmeg_model.media.start import ANCHOR_MS

_GAP: Final = Fraction(20, 1000)
_RATES_HZ: Final = range(1_000, 768_001)


class Sound:
    """Puts decoded sound onto the grid of 16 kHz that starts at zero of the video's clock.

    Stamps may be rounded (Matroska: to 1 ms), so inside a run samples are counted; the count is set right
    by the stamp at fixed times, at the first frame of each 10 s. So a decode that starts anywhere agrees,
    from the next such time on, with one that starts at zero. A stamp 20 ms or more off the count is a gap
    or an overlap and starts a new run.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        first_sample: int,
        end_sample: int,
        put: Callable[[int, NDArray[np.int16]], None],
    ) -> None:
        """Take frames of a stream for the output samples [first_sample, end_sample).

        Args:
            clock: of the stream.
            first_sample: the first that is wanted, at 16 kHz from zero.
            end_sample: behind the last one.
            put: takes valid samples and the number of the first of them.
        """
        self._clock = clock
        self._next_sample = first_sample
        self._end_sample = end_sample
        self._put = put
        self._run: _Run | None = None
        self._anchor = -1

    @property
    def done_ms(self) -> int:
        """All before this time is done."""
        return self._next_sample // SAMPLES_PER_MS

    def add(self, frame: AudioFrame) -> None:
        """Take the next frame out of the decoder; one that cannot be placed in time is dropped."""
        rate = frame.sample_rate
        if rate not in _RATES_HZ or not frame.samples:
            return
        source = (rate, frame.format.name, frame.layout.name)
        if frame.pts is None:
            if self._run is None or self._run.source != source:
                return
        else:
            position = self._clock.at(frame.pts, rate)
            anchor = self._clock.at(frame.pts, 1000) // ANCHOR_MS
            off = None
            if self._run is not None and self._run.source == source:
                off = position - self._run.position
            if off is None or abs(off) > _GAP * rate:
                self._end_run()
                self._run = _Run(source, position)
            elif off and anchor != self._anchor:
                assert self._run is not None
                if off > 0:
                    self._write(self._run.push(_silence(frame, off)))
                else:
                    cut = _without_front(frame, -off)
                    if cut is None:
                        return
                    frame = cut
            self._anchor = anchor
        assert self._run is not None
        self._write(self._run.push(frame))

    def finish(self) -> None:
        """No more sound."""
        self._end_run()
        self._next_sample = self._end_sample

    def _end_run(self) -> None:
        if self._run is not None:
            self._write(self._run.flush())
            self._run = None

    def _write(self, part: tuple[int, NDArray[np.int16]]) -> None:
        first, samples = part
        cut = max(0, self._next_sample - first)
        first, samples = first + cut, samples[cut : self._end_sample - first]
        if len(samples):
            self._put(first, samples)
            self._next_sample = first + len(samples)


class _Run:
    """A stretch of sound without a gap, in one format."""

    def __init__(self, source: tuple[int, str, str], position: int) -> None:
        self.source = source
        self.position = position
        """Of the next source sample, counted from zero at the source's rate."""
        rate = source[0]
        common = gcd(rate, SAMPLE_RATE_HZ)
        # Output samples fall onto source samples only every so often: start there, and so keep the phase.
        self._lattice, per_lattice = rate // common, SAMPLE_RATE_HZ // common
        self._padding = position % self._lattice
        self._next_output = position // self._lattice * per_lattice
        self._first_valid = self._output_at(position)
        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)

    def push(self, frame: AudioFrame) -> tuple[int, NDArray[np.int16]]:
        parts = []
        if self._padding:
            parts += self._resample(_silence(frame, self._padding))
            self._padding = 0
        self.position += frame.samples
        parts += self._resample(frame)
        return self._take(parts)

    def flush(self) -> tuple[int, NDArray[np.int16]]:
        return self._take(self._resample(None))

    def _resample(self, frame: AudioFrame | None) -> list[NDArray[np.int16]]:
        if frame is not None:
            frame.pts = None
        return [out.to_ndarray()[0] for out in self._resampler.resample(frame) if out is not None]

    def _take(self, parts: list[NDArray[np.int16]]) -> tuple[int, NDArray[np.int16]]:
        samples = np.concatenate(parts) if parts else np.empty(0, np.int16)
        first = self._next_output
        self._next_output += len(samples)
        samples = samples[: max(0, self._output_at(self.position) - first)]
        cut = max(0, self._first_valid - first)
        return first + cut, samples[cut:]

    def _output_at(self, position: int) -> int:
        return -(-position * SAMPLE_RATE_HZ // self.source[0])


def _silence(like: AudioFrame, num_samples: int) -> AudioFrame:
    silence = AudioFrame(like.format.name, like.layout.name, num_samples)
    zero = b"\x80" if like.format.name in ("u8", "u8p") else b"\0"
    for plane in silence.planes:
        plane.update(zero * plane.buffer_size)
    silence.sample_rate = like.sample_rate
    return silence


def _without_front(frame: AudioFrame, num_samples: int) -> AudioFrame | None:
    left = frame.samples - num_samples
    if left <= 0:
        return None
    cut = AudioFrame(frame.format.name, frame.layout.name, left)
    for plane, old in zip(cut.planes, frame.planes, strict=True):
        size = plane.buffer_size // left
        plane.update(bytes(old)[num_samples * size : frame.samples * size])
    cut.sample_rate = frame.sample_rate
    return cut
