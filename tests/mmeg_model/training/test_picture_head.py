from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmeg_model.corpora import read_corpora
from mmeg_model.corpora.fer2013 import read_pictures
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.networks.compact import CompactConfig, CompactNetwork
from mmeg_model.splits import Split
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import train
from mmeg_model.training.picture_head import PENALTY, _fit, fit_picture_head
from mmeg_model.training.pretrained import _train


@pytest.fixture(scope="module")
def recordings(synthetic_data: Path) -> Sequence[Utterance]:
    return read_corpora(synthetic_data, ["synthetic"]).utterances


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Utterance]:
    """Twelve ramps as FER2013 is published, three of each emotion."""
    folder = tmp_path_factory.mktemp("fer2013")
    pixels = " ".join(str(n % 256) for n in range(48 * 48))
    rows = [f"{number},{pixels},Training" for number in (0, 3, 4, 6) for _ in range(3)]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    return read_pictures(folder).utterances


def network() -> CompactNetwork:
    torch.manual_seed(0)
    return CompactNetwork(CompactConfig())


def changed(before: dict[str, Tensor], after: nn.Module) -> set[str]:
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}


def test_one_layer_changes_for_what_stills_are_labelled_for(
    recordings: Sequence[Utterance], stills: Sequence[Utterance], clip_cache: Path
) -> None:
    fitted, again = network(), network()
    before = {name: value.clone() for name, value in fitted.state_dict().items()}
    fit_picture_head(fitted, [*recordings, *stills], cache=clip_cache, seed=1)
    assert changed(before, fitted) == {f"said_by_video.heads.emotion.{name}" for name in ("weight", "bias")}
    assert fitted.training
    with torch.no_grad():
        again.said_by_video.heads["emotion"].weight.mul_(-3)
    fit_picture_head(again, [*recordings, *stills], cache=clip_cache, seed=1)
    assert changed(fitted.state_dict(), again) == set(), "it does not depend on what the head was"


def test_without_both_kinds_nothing_changes(
    recordings: Sequence[Utterance], stills: Sequence[Utterance], clip_cache: Path
) -> None:
    for utterances in (recordings, stills):
        fitted = network()
        before = {name: value.clone() for name, value in fitted.state_dict().items()}
        fit_picture_head(fitted, utterances, cache=clip_cache, seed=1)
        assert changed(before, fitted) == set()


def test_the_bundled_model_is_trained_so(
    recordings: Sequence[Utterance], stills: Sequence[Utterance], clip_cache: Path, tmp_path: Path
) -> None:
    config = TrainingConfig(num_epochs=1, clips_per_epoch=32, still_share=0.5)
    split = Split((*recordings, *stills), ())
    trained = train(config, split, folder=tmp_path, cache=clip_cache).network
    fitted = _train(config, split, tmp_path, clip_cache).network  # takes up the training, which is finished
    assert changed(trained.state_dict(), fitted) == {
        f"said_by_video.heads.emotion.{name}" for name in ("weight", "bias")
    }


def test_kinds_weigh_alike_at_the_least_loss() -> None:
    """At a minimum the gradient of each weight is zero: that of the penalty is the weight times `PENALTY`."""
    random = torch.Generator().manual_seed(0)
    kinds = [
        (torch.randn(count, 5, generator=random), torch.randint(3, (count,), generator=random))
        for count in (10, 200)
    ]
    head = nn.Linear(5, 3)
    _fit(head, kinds)
    loss = sum(nn.functional.cross_entropy(head(vectors), labels) for vectors, labels in kinds)
    loss.backward()  # type: ignore[union-attr]
    assert torch.allclose(head.weight.grad, -PENALTY * head.weight, atol=1e-4)
    assert torch.allclose(head.bias.grad, torch.zeros(3), atol=1e-4)
