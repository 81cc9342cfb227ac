"""Weights by chance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmeg_model.joint_loss.weighting import Weighting


class RLWWeighting(Weighting):
    """Random Loss Weighting: at each step the softmax of independent normal draws (Lin et al. 2022).

    "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning" (TMLR 2022, arXiv
    2111.10603): a weighting that is worth its effort must beat this one. `weights` are those of the last step,
    equal ones before the first.

    Args:
        tasks: their names, in the order of the losses.
        seed: of the draws; by default the one `torch.manual_seed` was given. It must be the same in all
            processes of a training, or each of them minimises another joint loss.
    """

    new_each_step = True
    drawn: Tensor

    def __init__(self, tasks: Sequence[str], seed: int | None = None) -> None:
        super().__init__(tasks)
        self.generator = torch.Generator().manual_seed(torch.initial_seed() if seed is None else seed)
        self.register_buffer("drawn", torch.full((len(self.tasks),), 1 / len(self.tasks)))

    @property
    def weights(self) -> Tensor:
        return self.drawn

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """New weights at each call, whatever the losses are."""
        draws = torch.randn(len(self.tasks), generator=self.generator)
        self.drawn = draws.softmax(dim=0).to(losses)
        return self.drawn

    def get_extra_state(self) -> Tensor:
        """The generator's state, so that `state_dict` has it."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with the draws where the generator of another one stood."""
        self.generator.set_state(state.cpu())
