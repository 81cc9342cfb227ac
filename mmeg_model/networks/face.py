"""A face cut out of a frame -> features."""

import math

import torch
from torch import Tensor, nn

FACE_SIZE = 48
"""Width and height of the faces that `FaceNetwork` looks at."""
_ENERGY_WINDOW = 9
_FLOOR = 2.0
_NUM_CELLS = 4


class OrientedEdges(nn.Module):
    """Strength of edges in eight directions, relative to their neighbourhood. Nothing is learned here.

    As histograms of oriented gradients (Dalal and Triggs 2005, CVPR): light and contrast drop out, and so a
    network on top has less to learn from few people.
    """

    num_directions = 8
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(self.num_directions) * (2 * math.pi / self.num_directions)
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
        filters = angles.cos().view(-1, 1, 1) * across + angles.sin().view(-1, 1, 1) * across.T
        self.register_buffer("filters", filters.unsqueeze(1), persistent=False)

    @torch.no_grad()
    def forward(self, luma: Tensor) -> Tensor:
        """Edges, (N, 8, H / 2, W / 2), of luma 0 to 255, (N, H, W)."""
        x = nn.functional.pad(luma.unsqueeze(1), (1, 1, 1, 1), mode="replicate")
        edges = nn.functional.avg_pool2d(nn.functional.conv2d(x, self.filters).relu(), 2)
        energy = nn.functional.avg_pool2d(
            edges.square().sum(dim=1, keepdim=True),
            _ENERGY_WINDOW,
            stride=1,
            padding=_ENERGY_WINDOW // 2,
            count_include_pad=False,
        )
        return edges / (energy + _FLOOR).sqrt()


class FaceNetwork(nn.Module):
    """Edges -> convolutions -> one vector, each place of the face with weights of its own in the last layer.

    Group statistics are one face's own: nothing of the batch, nothing of other times. Behind what is learned the
    vector tells how strong edges are in each of 4×4 cells: that is the shape of a face, which convolutions that learn
    from expressions alone need not keep.
    """

    def __init__(self, channels: tuple[int, int, int], num_learned: int, dropout: float) -> None:
        super().__init__()
        num_edges = OrientedEdges.num_directions * _NUM_CELLS**2
        self.num_outputs = num_learned + num_edges
        layers: list[nn.Module] = []
        num_inputs = OrientedEdges.num_directions
        for num_channels, stride in (
            (channels[0], 1),
            (channels[1], 2),
            (channels[1], 1),
            (channels[2], 2),
        ):
            layers += [
                nn.Conv2d(num_inputs, num_channels, 3, stride=stride, padding=1, bias=False),
                nn.GroupNorm(max(1, num_channels // 8), num_channels),
                nn.ReLU(),
            ]
            num_inputs = num_channels
        self.edges = OrientedEdges()
        # Channels last: a third faster on processors.
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.project = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(num_inputs * (FACE_SIZE // 8) ** 2, num_learned),
            nn.LayerNorm(num_learned),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(num_edges, elementwise_affine=False)

    def forward(self, faces: Tensor) -> Tensor:
        """Embed faces, luma 0 to 255, (N, 48, 48), to (N, num_outputs)."""
        edges = self.edges(faces).contiguous(memory_format=torch.channels_last)
        learned = self.project(self.convolutions(edges).contiguous())
        shape = self.norm(nn.functional.adaptive_avg_pool2d(edges, _NUM_CELLS).flatten(1))
        return torch.cat([learned, shape.to(learned.dtype)], dim=1)
