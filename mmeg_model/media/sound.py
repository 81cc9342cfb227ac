"""Decoded sound -> 16 kHz mono on the video's clock."""

from collections.abc import Callable
from math import gcd
from typing import Final

import av
import numpy as np
from av import AudioFifo, AudioResampler
from av.audio.frame import AudioFrame, format_dtypes
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

from mmeg_model.clip import SAMPLE_RATE_HZ, SAMPLES_PER_MS
from mmeg_model.media.container import Clock
from mmeg_model.media.crop import Channel
from mmeg_model.media.start import ANCHOR_MS

_GAP_MS: Final = 20
_BATCH_MS: Final = 200  # a call of the resampler costs as much as the samples of a codec's frame
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
        channel: Channel | None = None,
    ) -> None:
        """Take frames of a stream for the output samples [first_sample, end_sample).

        Args:
            clock: of the stream.
            first_sample: the first that is wanted, at 16 kHz from zero.
            end_sample: behind the last one.
            put: takes valid samples and the number of the first of them.
            channel: one of several; None: all, mixed.
        """
        self._clock = clock
        self._next_sample = first_sample
        self._end_sample = end_sample
        self._put = put
        self._channel = channel
        self._run: _Run | None = None
        self._anchor = -1

    @property
    def done_ms(self) -> int:
        """All before this time is done."""
        return self._next_sample // SAMPLES_PER_MS

    def add(self, frame: AudioFrame) -> None:
        """Take the next frame out of the decoder; one that cannot be placed in time is dropped.

        Raises:
            av.error.FFmpegError: if it cannot be turned into mono at 16 kHz.
        """
        if frame.sample_rate not in _RATES_HZ or not frame.samples:
            return
        if self._channel is not None and frame.layout.nb_channels > 1:
            frame = _one_channel(frame, self._channel)
        try:
            placed = self._place(frame)
            if placed is not None and self._run is not None:
                self._write(self._run.push(placed))
        except av.error.FFmpegError:
            self._run = None  # its resampler is half made
            raise

    def _place(self, frame: AudioFrame) -> AudioFrame | None:
        """Begin a run at a gap, and set the count right at an anchor; gives back what is left of the frame."""
        rate = frame.sample_rate
        source = (rate, frame.format.name, frame.layout.name)
        run = self._run if self._run is not None and self._run.source == source else None
        if frame.pts is None:
            return frame if run is not None else None
        position = self._clock.at(frame.pts, rate)
        anchor = position * 1000 // (rate * ANCHOR_MS)
        rest: AudioFrame | None = frame
        if run is None or abs(position - run.position) * 1000 > _GAP_MS * rate:
            self._end_run()
            self._run = _Run(source, position)
        elif anchor != self._anchor and position > run.position:
            self._write(run.push(_silence(frame, position - run.position)))
        elif anchor != self._anchor and position < run.position:
            rest = _without_front(frame, run.position - position)
        if rest is not None:  # else the next frame is the first
            self._anchor = anchor
        return rest

    def finish(self) -> None:
        """No more sound.

        Raises:
            av.error.FFmpegError: if the last of it cannot be turned into mono at 16 kHz.
        """
        try:
            self._end_run()
        finally:
            self._next_sample = self._end_sample

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._write(run.flush())

    def _write(self, part: tuple[int, NDArray[np.int16]]) -> None:
        first, samples = part
        if not len(samples):
            return
        start = max(first, self._next_sample)
        wanted = samples[start - first : max(start, self._end_sample) - first]
        if len(wanted):
            self._put(start, wanted)
        self._next_sample = min(max(start, first + len(samples)), self._end_sample)


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
        self._waiting = AudioFifo()
        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)

    def push(self, frame: AudioFrame) -> tuple[int, NDArray[np.int16]]:
        """Take source samples; give back those that are done, and the number of the first of them."""
        if self._padding:
            self._waiting.write(_silence(frame, self._padding))
            self._padding = 0
        frame.pts = None  # they are counted here
        self._waiting.write(frame)
        self.position += frame.samples
        parts = []
        while batch := self._waiting.read(self.source[0] * _BATCH_MS // 1000):
            parts += self._resample(batch)
        return self._take(parts)

    def flush(self) -> tuple[int, NDArray[np.int16]]:
        """Give back the rest."""
        rest = self._waiting.read()
        return self._take([*(self._resample(rest) if rest else []), *self._resample(None)])

    def _resample(self, frame: AudioFrame | None) -> list[NDArray[np.int16]]:
        if frame is not None:
            frame.pts = None
        made = self._resampler.resample(frame)
        return [
            np.frombuffer(memoryview(out.planes[0]), np.int16, out.samples) for out in made if out is not None
        ]

    def _take(self, parts: list[NDArray[np.int16]]) -> tuple[int, NDArray[np.int16]]:
        samples = np.concatenate(parts) if parts else np.empty(0, np.int16)
        first = self._next_output
        self._next_output += len(samples)
        samples = samples[: max(0, self._output_at(self.position) - first)]
        cut = max(0, self._first_valid - first)
        return first + cut, samples[cut:]

    def _output_at(self, position: int) -> int:
        return -(-position * SAMPLE_RATE_HZ // self.source[0])


def _one_channel(frame: AudioFrame, channel: Channel) -> AudioFrame:
    index = ("left", "right").index(channel)
    if frame.format.is_planar:
        samples = np.frombuffer(memoryview(_planes(frame)[index]), format_dtypes[frame.format.name])[
            : frame.samples
        ]
    else:
        samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)[:, index]
    mono = AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], frame.format.name, "mono")
    mono.sample_rate, mono.pts = frame.sample_rate, frame.pts
    return mono


def _silence(like: AudioFrame, num_samples: int) -> AudioFrame:
    silence = AudioFrame(like.format.name, like.layout.name, num_samples)
    zero = b"\x80" if like.format.name in ("u8", "u8p") else b"\0"
    for plane in _planes(silence):
        plane.update(zero * plane.buffer_size)
    silence.sample_rate = like.sample_rate
    return silence


def _planes(frame: AudioFrame) -> tuple[AudioPlane, ...]:
    """A frame's planes. Beyond eight, PyAV 18 gives some that are not there (av/audio/frame.py)."""
    return frame.planes[: frame.layout.nb_channels if frame.format.is_planar else 1]


def _without_front(frame: AudioFrame, num_samples: int) -> AudioFrame | None:
    """A frame without its first samples; None if that are all."""
    fifo = AudioFifo()
    frame.pts = None
    fifo.write(frame)
    fifo.read(num_samples, partial=True)
    return fifo.read()
