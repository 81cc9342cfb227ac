"""Train the weights of `FaceLocator` that come with the package: `python -m mmeg_model.training.face_locator`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mmeg_model.corpora.decoded import default_cache, load_clip
from mmeg_model.corpora.fer2013 import read_pictures
from mmeg_model.networks.face_locator import LOCATOR_WEIGHTS, FaceLocator
from mmeg_model.training.face_placement import place
from mmeg_model.whole import written_whole

BATCH_SIZE = 64
LEARNING_RATE = 4e-3


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn from pictures of faces, put into frames, where they were put. Takes a minute or two of one core."""
    parser = argparse.ArgumentParser(prog="python -m mmeg_model.training.face_locator", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of FER2013")
    parser.add_argument("--steps", type=int, default=1500, help=f"of {BATCH_SIZE} pictures")
    parser.add_argument("--output", type=Path, default=LOCATOR_WEIGHTS, help="replaced if it is there")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="for decoded clips")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    utterances = read_pictures(given.data).utterances
    pictures = torch.from_numpy(
        np.stack([load_clip(u, cache=given.cache).frames[0, :, :, 0] for u in utterances])
    )
    network = train_locator(pictures, given.steps)
    with written_whole(given.output) as file:
        file.write(save(network.state_dict()))
    return 0


def train_locator(pictures: Tensor, num_steps: int) -> FaceLocator:
    """Train a locator on pictures of faces, uint8 (N, H, W)."""
    random = np.random.default_rng(0)
    network = FaceLocator(trained=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=num_steps, pct_start=0.1, cycle_momentum=False
    )
    errors = []
    for step in range(1, num_steps + 1):
        drawn = torch.from_numpy(random.integers(len(pictures), size=BATCH_SIZE))
        frames, boxes = place(pictures[drawn].float(), random)
        found = network(frames)
        optimizer.zero_grad()
        nn.functional.smooth_l1_loss(found, boxes, beta=0.1).backward()
        optimizer.step()
        schedule.step()
        errors.append((found - boxes).detach().abs())
        if step % 100 == 0:
            medians = torch.cat(errors).median(dim=0).values
            print(f"step {step}: median errors {[round(m, 3) for m in medians.tolist()]}", file=sys.stderr)
            errors.clear()
    return network.eval()


if __name__ == "__main__":
    sys.exit(main())
