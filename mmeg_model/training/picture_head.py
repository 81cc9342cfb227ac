"""What the picture's head says of tasks that still pictures are labelled for, fitted anew behind a training.

Stills are thousands, recordings with a picture hundreds, and whoever is in them a handful: the head that a training
ends with speaks of stills. Here its last layer alone is fitted once more, on features that stay as they are, with both
kinds of picture weighing alike (Kirichenko et al. 2022, arXiv 2204.02937).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from mmeg_model.bundle import to_tensors
from mmeg_model.clip import Clip, pad
from mmeg_model.corpora import corpus_named
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.joint_loss import UNLABELLED
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.compact import CompactNetwork
from mmeg_model.training.augmentation import place_faces
from mmeg_model.training.sampling import label_tensors

MOST_STILLS: Final = 3_000
PENALTY: Final = 0.1
"""Times half the sum of squared weights."""
_BATCH_SIZE: Final = 16


def fit_picture_head(network: nn.Module, utterances: Sequence[Utterance], *, cache: Path, seed: int) -> None:
    """Fit the picture's head of `compact` anew, in place, for the tasks that recordings and stills are labelled for.

    Other networks, and utterances without both kinds, leave everything as it is. Fitted on clips as they are, by a
    convex loss: the same from whatever weights the head has.

    Args:
        network: trained on the utterances.
        utterances: of the training side; recordings without a picture are passed over.
        cache: as of `load_clip`.
        seed: decides which stills are taken, `MOST_STILLS` at most, and where their faces are put.
    """
    if not isinstance(network, CompactNetwork):
        return
    random = np.random.default_rng(seed)
    stills = [u for u in utterances if corpus_named(u.corpus).stills]
    stills = [stills[i] for i in random.permutation(len(stills))[:MOST_STILLS]]
    pictured = [(u, load_clip(u, cache=cache)) for u in utterances if not corpus_named(u.corpus).stills]
    pictured = [(u, clip) for u, clip in pictured if clip.has_video]
    if not stills or not pictured:
        return
    was_training = network.training
    network.eval()
    kinds = (
        (label_tensors([u for u, _ in pictured]), _vectors(network, [clip for _, clip in pictured])),
        (
            label_tensors(stills),
            _vectors(network, place_faces([load_clip(u, cache=cache) for u in stills], random)),
        ),
    )
    for task in LABELS_BY_TASK:
        examples = []
        for labels, vectors in kinds:
            is_labelled = labels[task] != UNLABELLED
            if is_labelled.any():
                examples.append((vectors[is_labelled], labels[task][is_labelled]))
        if len(examples) == len(kinds):
            _fit(network.said_by_video.heads[task], examples)
    network.train(was_training)


@torch.no_grad()
def _vectors(network: CompactNetwork, clips: Sequence[Clip]) -> Tensor:
    """What the heads read, (N, D)."""
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(clips), _BATCH_SIZE):
        frames, frames_valid, *_ = to_tensors(pad(clips[start : start + _BATCH_SIZE]), device)
        parts.append(network.said_by_video.norm(network.video(frames, frames_valid)).float().cpu())
    return torch.cat(parts)


def _fit(head: nn.Module, kinds: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Logistic regression, the mean loss of each kind weighing alike."""
    assert isinstance(head, nn.Linear)
    weight = torch.zeros(head.out_features, head.in_features, requires_grad=True)
    bias = torch.zeros(head.out_features, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = PENALTY / 2 * weight.square().sum()
        for vectors, labels in kinds:
            loss = loss + nn.functional.cross_entropy(vectors @ weight.T + bias, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
