"""Where the face is in a frame: a small network whose weights come with the package."""

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

LOCATOR_WEIGHTS: Final = Path(__file__).with_name("face_locator.safetensors")
_NUM_CELLS: Final = 12
"""Along either side of a frame of 96×96, each of 8×8 pixels."""


class FaceLocator(nn.Module):
    """Luma -> the box around a face: what each cell says of it, weighted by how much it looks like one.

    Trained by `mmeg_model.training.face_locator` on pictures of faces put anywhere into a frame, and left as it is
    by every other training: few people suffice to learn from faces cut out alike, not to learn where faces are.
    """

    def __init__(self, *, trained: bool = True) -> None:
        """With the weights of the package, or untrained with fresh ones."""
        super().__init__()
        layers: list[nn.Module] = []
        num_inputs = 1
        for num_channels, stride in ((12, 2), (24, 2), (32, 1), (32, 1), (32, 1)):
            layers += [
                nn.Conv2d(num_inputs, num_channels, 3, stride=stride, padding=1, bias=False),
                nn.GroupNorm(max(1, num_channels // 8), num_channels),
                nn.ReLU(),
            ]
            num_inputs = num_channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(num_inputs, 5, 1))
        if trained:
            self.load_state_dict(load_file(LOCATOR_WEIGHTS))
            self.requires_grad_(False)

    def forward(self, luma: Tensor) -> Tensor:
        """Boxes, (N, 4), of frames of luma 0 to 255, (N, 96, 96): centre x and y, log width and log height.

        Centres are in [-1, 1] from the left and the upper edge to the others, sizes are relative to the frame's.
        """
        x = nn.functional.avg_pool2d(luma.unsqueeze(1), 2)  # (N, 1, 48, 48)
        std, mean = torch.std_mean(x, dim=(2, 3), keepdim=True)
        said = self.layers((x - mean) / (std + 8)).flatten(2)  # (N, 5, 144)
        weights = said[:, 0].softmax(dim=1).unsqueeze(1)  # (N, 1, 144)
        cells = (torch.arange(_NUM_CELLS, device=luma.device) + 0.5) * (2 / _NUM_CELLS) - 1
        centres = torch.stack([cells.repeat(_NUM_CELLS), cells.repeat_interleave(_NUM_CELLS)])  # (2, 144)
        # Sizes are counted from those of a face in a frame of speech.
        usual = torch.tensor([-0.6, -0.4], device=luma.device)
        return torch.cat(
            [(weights * (said[:, 1:3] + centres)).sum(dim=2), (weights * said[:, 3:]).sum(dim=2) + usual],
            dim=1,
        )


def cut_out(luma: Tensor, boxes: Tensor, size: int, scale: float) -> Tensor:
    """Cut boxes, (N, 4) as `FaceLocator` gives them, times scale, out of luma, (N, H, W), to (N, size, size).

    What lies outside a frame is as its edge.
    """
    placement = luma.new_zeros(len(luma), 2, 3)
    placement[:, 0, 0], placement[:, 1, 1] = (boxes[:, 2:].exp() * scale).unbind(dim=1)
    placement[:, :, 2] = boxes[:, :2]
    grid = nn.functional.affine_grid(placement, [len(luma), 1, size, size], align_corners=False)
    return nn.functional.grid_sample(
        luma.unsqueeze(1), grid, padding_mode="border", align_corners=False
    ).squeeze(1)
