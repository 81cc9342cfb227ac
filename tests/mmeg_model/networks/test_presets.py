import json

import pytest
import torch

from mmeg_model.networks.presets import build, complete_sizes


def test_a_bundle_needs_no_guessing():
    """Sizes survive JSON, and the same sizes and weights are the same network."""
    sizes = json.loads(
        json.dumps(complete_sizes("compact", {"num_features": 32, "audio": {"channels": [4, 8]}}))
    )

    first, second = build("compact", sizes), build("compact", sizes)
    second.load_state_dict(first.state_dict())

    assert sizes["num_features"] == 32
    assert sizes["audio"]["channels"] == [4, 8]
    assert sizes["video"] == json.loads(json.dumps(complete_sizes("compact")["video"]))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_unknown_preset():
    with pytest.raises(ValueError, match="unknown preset 'compct': did you mean 'compact'"):
        build("compct")
    with pytest.raises(ValueError, match="unknown preset 'compct'"):
        complete_sizes("compct")


def test_unknown_size():
    with pytest.raises(ValueError, match="unknown field of AudioConfig 'num_mel': did you mean 'num_mels'"):
        build("compact", {"audio": {"num_mel": 3}})
