"""`mmeg evaluate BUNDLE`: the figures of a bundle on labelled corpora."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmeg_model.bundle import load
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.predictions import predict
from mmeg_model.evaluation.report import Figures, report


def evaluate_bundle(bundle: Path, utterances: Sequence[Utterance], *, cache: Path) -> list[Figures]:
    """Figures of a bundle, calibrated, for each task, corpus and set of modalities.

    Whether the bundle was trained on the same speakers is not known here, and not checked.

    Raises:
        BundleError: if the bundle cannot be loaded.
    """
    model = load(bundle)
    return report(
        {
            task: replace(of_task, logits=of_task.logits / model.temperatures[task])
            for task, of_task in predict(model.network, utterances, cache=cache).items()
        }
    )
