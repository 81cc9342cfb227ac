import csv
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from mmeg_model.networks.face_locator import FaceLocator
from mmeg_model.training.face_locator import main, train_locator
from mmeg_model.training.face_placement import place


def drawn_faces(n: int) -> torch.Tensor:
    """Light ovals with dark eyes and mouths on darker corners, uint8 (n, 48, 48)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    faces = []
    for _ in range(n):
        face = np.where(x**2 / 0.8 + y**2 < 0.95, 190.0, 90.0)
        for side in (-0.4, 0.4):
            face[(x - side) ** 2 + (y + 0.25) ** 2 < 0.03] = random.uniform(20, 60)
        face[(abs(x) < 0.4) & (abs(y - 0.5) < 0.08)] = random.uniform(20, 80)
        faces.append(face)
    return torch.from_numpy(np.stack(faces)).to(torch.uint8)


def test_training_brings_the_boxes_nearer():
    """To half of the error of always saying the mean box, within 60 steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures = drawn_faces(40)
    frames, boxes = place(pictures[:40].float(), np.random.default_rng(7))
    mean_box = boxes.mean(dim=0, keepdim=True)

    network = train_locator(pictures, 60)
    with torch.no_grad():
        found = network(frames)

    assert (found - boxes).abs().mean() < 0.5 * (mean_box - boxes).abs().mean()


def test_the_command_writes_weights_that_fit(tmp_path: Path):
    with (tmp_path / "fer2013.csv").open("w", newline="") as file:
        rows = [(3, " ".join(map(str, face.flatten().tolist())), "Training") for face in drawn_faces(4)]
        csv.writer(file).writerows([("emotion", "pixels", "Usage"), *rows])
    output = tmp_path / "locator.safetensors"

    assert (
        main(["--data", str(tmp_path), "--steps", "2", "--output", str(output), "--cache", str(tmp_path)])
        == 0
    )

    FaceLocator(trained=False).load_state_dict(load_file(output))
