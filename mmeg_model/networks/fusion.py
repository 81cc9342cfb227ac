"""One vector out of those modalities that a clip has."""

import torch
from torch import Tensor, nn

from mmeg_model.networks.pooling import masked_softmax


class GatedFusion(nn.Module):
    """Weigh each modality's vector by a learned gate among the modalities that are there."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features)
        self.gate = nn.Linear(num_features, 1)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Fuse vectors, (B, modalities, D), where present, (B, modalities), to (B, D); zeros if none is."""
        vectors = self.norm(vectors)
        weights = masked_softmax(self.gate(vectors).squeeze(-1), present)  # (B, modalities)
        return torch.einsum("bm,bmd->bd", weights, vectors)
