"""What one modality of a clip says of every task."""

from collections.abc import Mapping

from torch import Tensor, nn


class Evidence(nn.Module):
    """A modality's vector -> its part of the logits of all tasks; what several modalities say is added.

    Of modalities that are independent given the label, log-odds add up (naive Bayes). A modality that says little of
    a clip changes little, one that is missing nothing.
    """

    def __init__(self, num_features: int, num_labels: Mapping[str, int], dropout: float) -> None:
        """num_labels: per task."""
        super().__init__()
        self.norm = nn.LayerNorm(num_features)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({task: nn.Linear(num_features, n) for task, n in num_labels.items()})

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        """Parts of the logits per task, (N, labels), of vectors, (N, D)."""
        vectors = self.dropout(self.norm(vectors))
        return {task: head(vectors) for task, head in self.heads.items()}
