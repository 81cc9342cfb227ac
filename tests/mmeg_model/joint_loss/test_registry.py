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
        ("fixed", {}, r"the weighting 'fixed': weights must be given"),
        ("fixed", {"weights": 3}, r"the weighting 'fixed': weights must be a list, got 3"),
        ("fixed", {"weights": [1, True]}, r"'fixed': weights\[1\] must be a finite number, got True"),
        ("dwa", {"temperature": "a"}, r"the weighting 'dwa': temperature must be a finite number, got 'a'"),
        ("dwa", {"temperature": float("nan")}, r"temperature must be a finite number, got nan"),
        ("rlw", {"seed": "a"}, r"the weighting 'rlw': seed must be a whole number .*, got 'a'"),
        ("rlw", {"seed": 2**100}, r"the weighting 'rlw': seed must be a whole number of at most 64 bits"),
        ("torchjd", {"aggregator": 3}, r"the weighting 'torchjd': aggregator must be a string, got 3"),
        ("uniform", {"name": 3}, r"the weighting 'uniform' takes no arguments, got 'name'"),
        ("fixed", {"tasks": ["age"]}, r"unknown argument of the weighting 'fixed', 'tasks'"),
        ("torchjd", {"aggregator": "UpGrad"}, r"unknown aggregator 'UpGrad': did you mean 'UPGrad'"),
    ],
)
def test_unknown(name: str, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_weighting(name, **arguments)


@pytest.mark.parametrize("name", sorted(set(WEIGHTINGS) - {"fixed"}))
def test_arguments_have_defaults(name: str):
    assert isinstance(make_weighting(name), WEIGHTINGS[name])
