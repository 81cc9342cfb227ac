"""Whether a long video costs more memory, or more time a clip, than a short one.

    python benchmarks/long_video.py

One video of 1, 10, 60 and 180 minutes of 360p, made by repeating half a minute, through `mmeg annotate` on two decoders:
peak memory (the summed proportional set size of all its processes) and clips per second of wall time without start-up,
which is the wall time of the same command on one second of video. Ratios are over those of ten minutes; the memory of
60 and 180 minutes should be within a tenth of it. The inputs are made first and kept in build/benchmarks. Takes
about ten minutes.
"""

from functools import partial
from pathlib import Path

from annotate import annotate
from decode import wall_seconds
from inputs import benchmark_video
from memory import peak_memory_mb

HEIGHT = 360
MINUTES = (1, 10, 60, 180)
CLIP_SECONDS = 6


def measured(video: Path) -> tuple[float, float]:
    """Peak megabytes, and seconds of wall time."""
    seconds: list[float] = []
    peak_mb = peak_memory_mb(lambda: seconds.append(wall_seconds(partial(annotate, [video]))))
    return peak_mb, seconds[0]


def main() -> None:
    second = benchmark_video(HEIGHT, seconds=1)
    videos = {minutes: benchmark_video(HEIGHT, seconds=60 * minutes) for minutes in MINUTES}
    startup = wall_seconds(partial(annotate, [second]))
    memory_mb: dict[int, float] = {}
    clips_per_second: dict[int, float] = {}
    for minutes, video in videos.items():
        memory_mb[minutes], seconds = measured(video)
        clips_per_second[minutes] = 60 * minutes / CLIP_SECONDS / (seconds - startup)
        print(f"  {minutes} minutes: {seconds:.1f} s, {memory_mb[minutes]:.0f} MB", flush=True)
    for minutes in MINUTES:
        print(
            f"peak_memory_{minutes}min: pss_mb={memory_mb[minutes]:.0f} "
            f"ratio={memory_mb[minutes] / memory_mb[10]:.3f} runs=1"
        )
    for minutes in MINUTES:
        print(
            f"speed_{minutes}min: clips_per_second={clips_per_second[minutes]:.1f} "
            f"ratio={clips_per_second[minutes] / clips_per_second[10]:.2f} runs=1"
        )


if __name__ == "__main__":
    main()
