import json

import pytest
import torch

from mmeg_model.networks.presets import build, complete_sizes


def test_a_bundle_needs_no_guessing():
    """Sizes survive JSON, and the same sizes and weights are the same network."""
    sizes = json.loads(
        json.dumps(complete_sizes("compact", {"num_features": 32, "video": {"channels": [4, 8, 8]}}))
    )

    first, second = build("compact", sizes), build("compact", sizes)
    second.load_state_dict(first.state_dict())

    assert sizes["num_features"] == 32
    assert sizes["video"]["channels"] == [4, 8, 8]
    assert sizes["audio"] == json.loads(json.dumps(complete_sizes("compact")["audio"]))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_unknown_preset():
    with pytest.raises(ValueError, match="unknown preset 'compct': did you mean 'compact'"):
        build("compct")
    with pytest.raises(ValueError, match="unknown preset 'compct'"):
        complete_sizes("compct")


def test_unknown_size():
    with pytest.raises(ValueError, match="unknown field of VideoConfig 'channel': did you mean 'channels'"):
        build("compact", {"video": {"channel": 3}})


@pytest.mark.parametrize(
    ("preset", "sizes", "message"),
    [
        ("compact", {"num_features": "16"}, "sizes.num_features must be a whole number .*, got '16'"),
        ("compact", {"num_features": 0}, "num_features must be positive, got 0"),
        ("compact", {"dropout": 1.5}, r"dropout must be in \[0, 1\), got 1\.5"),
        ("compact", {"video": 3}, "sizes.video must be a table, got 3"),
        ("compact", {"video": {"channels": 3}}, "sizes.video.channels must be a list, got 3"),
        ("compact", {"video": {"channels": [4, 0, 4]}}, r"channels must be positive, got \(4, 0, 4\)"),
        ("compact", {"video": {"box_jitter": -0.1}}, r"box_jitter must be at least 0, got -0\.1"),
        (
            "compact",
            {"audio": {"lags": [1, "a"]}},
            r"sizes.audio.lags\[1\] must be a whole number .*, got 'a'",
        ),
        ("paper", {"num_layers": 0}, "num_layers must be positive, got 0"),
        ("paper", {"video": {"blocks": [1, 1]}}, r"blocks must be four numbers, one a stage, got \(1, 1\)"),
        ("paper", {"audio": {"pooled_channels": 0}}, "pooled_channels must be positive, got 0"),
    ],
)
def test_sizes_that_make_no_network(preset: str, sizes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        build(preset, sizes)


def test_channels_of_another_number():
    with pytest.raises(ValueError, match=r"channels must be three numbers.*got \(4, 8\)"):
        build("compact", {"video": {"channels": [4, 8]}})
