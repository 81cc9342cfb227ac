import pytest

from mmeg_model.media.limits import MOST_SECONDS, VideoLimits


@pytest.mark.parametrize("name", ["max_pixels", "max_seconds", "max_bytes", "max_streams"])
def test_limits_of_a_video_are_positive(name):
    assert getattr(VideoLimits(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"{name} = 0 must be positive"):
        VideoLimits(**{name: 0})


def test_milliseconds_fit_into_32_bits():
    assert 1_000 * VideoLimits(max_seconds=MOST_SECONDS).max_seconds < 2**31
    with pytest.raises(ValueError, match="max_seconds = 2147484 must be at most 2147483"):
        VideoLimits(max_seconds=MOST_SECONDS + 1)
