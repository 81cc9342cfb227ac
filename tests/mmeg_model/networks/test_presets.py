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


def test_channels_of_another_number():
    with pytest.raises(ValueError, match=r"channels must be three numbers.*got \(4, 8\)"):
        build("compact", {"video": {"channels": [4, 8]}})
