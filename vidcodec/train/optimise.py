"""Which optimiser moves which weights: Muon the matrices inside the networks, Adam all else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Optimisers:
    """Muon (K. Jordan et al. 2024, scaled as in arXiv 2502.16982) for the matrices of trunks, heads and fine layers;
    Adam for biases, depthwise kernels, gains, what depends on the quality, and the integer network.

    `learning rate` is one for both: an orthogonal update is scaled to the size that Adam's has. Both linear maps move
    by `linear_share` of it.
    """

    def __init__(self, model: nn.Module, linear_share: float) -> None:
        named = list(model.named_parameters())
        linear = [p for name, p in named if "_linear" in name]
        matrices = [p for name, p in named if _is_inner_matrix(name, p)]
        apart = {id(p) for p in linear + matrices}
        others = [p for _, p in named if id(p) not in apart]
        adam = torch.optim.Adam(
            [{"params": others, "share": 1.0}, {"params": linear, "share": linear_share}], betas=(0.9, 0.99)
        )
        muon = torch.optim.Muon([{"params": matrices, "share": 1.0}], weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        self.all: list[torch.optim.Optimizer] = [adam, muon]

    @property
    def rate(self) -> float:
        """Learning rate of the last `set_rate`."""
        return float(self.all[0].param_groups[0]["lr"])

    def set_rate(self, rate: float) -> None:
        for optimiser in self.all:
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]

    def zero_grad(self) -> None:
        for optimiser in self.all:
            optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        for optimiser in self.all:
            optimiser.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimiser.state_dict() for optimiser in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimiser, state in zip(self.all, states, strict=True):
            optimiser.load_state_dict(state)


def _is_inner_matrix(name: str, weight: Tensor) -> bool:
    inside = "trunk" in name or name.startswith(("fine.", "means.", "analysis_head", "synthesis_head"))
    return weight.ndim == 2 and inside and "by_quality" not in name
