import pytest

from mmeg_model.joint_loss import WEIGHTINGS, make_weighting


def test_tasks_are_the_networks():
    assert make_weighting("uniform").tasks == ("emotion", "gender")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("softmx", {}, r"unknown weighting 'softmx': did you mean 'softmax'\?"),
        ("", {}, r"unknown weighting '': there are dwa, fixed, rlw, softmax, torchjd, uncertainty, uniform"),
        ("dwa", {"temprature": 2}, r"unknown argument .* 'dwa', 'temprature': did you mean 'temperature'\?"),
        ("softmax", {"seed": 2}, r"the weighting 'softmax' takes no arguments, got 'seed'"),
        ("fixed", {}, r"the weighting 'fixed': missing a required argument: 'weights'"),
        ("torchjd", {"aggregator": "UpGrad"}, r"unknown aggregator 'UpGrad': did you mean 'UPGrad'"),
    ],
)
def test_unknown(name: str, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_weighting(name, **arguments)


@pytest.mark.parametrize("name", sorted(set(WEIGHTINGS) - {"fixed"}))
def test_arguments_have_defaults(name: str):
    assert isinstance(make_weighting(name), WEIGHTINGS[name])
