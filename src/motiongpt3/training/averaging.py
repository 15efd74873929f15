"""The exponential moving average of the weights: what is validated, and what a training hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class Averaging(Callback):
    """Averages trained parameters after every optimiser step.

    Frozen parameters are neither averaged nor stored: in a checkpoint ``state_dict`` has the trained
    parameters as they are, with all buffers, and ``averaged_weights`` the same with the averages in place.
    During validation the averages take the place of the parameters, and after training for good.

    Args:
        decay: weight of the past at each step; the first step starts the average.
        parts: beginnings of the names of the parameters to average; None averages all that are trained.
    """

    def __init__(self, decay: float, parts: Sequence[str] | None = None) -> None:
        self.decay = decay
        self.parts = None if parts is None else tuple(parts)
        self._averages: dict[str, Tensor] = {}
        self._loaded: Mapping[str, Tensor] | None = None
        self._step = 0

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._loaded = checkpoint["averaged_weights"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step
        for name, parameter in self._parameters(pl_module):
            average = parameter.detach().clone()
            if self._loaded is not None:
                average.copy_(like(self._loaded[name], average))
            self._averages[name] = average
        self._loaded = None

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # With accumulation there are batches without a step.
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        for name, parameter in self._parameters(pl_module):
            if self._step == 1:
                self._averages[name].copy_(parameter)
            else:
                # Interpolated: averaging by two products would move a weight that stays as it is by rounding.
                self._averages[name].lerp_(parameter.detach(), 1 - self.decay)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, parameter in self._parameters(pl_module):
            parameter.copy_(self._averages[name])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        averages = {name: whole(average) for name, average in self._averages.items()}
        kept = stored_names(pl_module)
        # Where weights are sharded, the processes other than the first have nothing to save.
        weights = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name in kept}
        checkpoint["state_dict"] = weights
        checkpoint["averaged_weights"] = weights | {
            name: averages[first] for name, first in aliases(pl_module).items() if first in averages
        }

    def _parameters(self, module: nn.Module) -> list[tuple[str, nn.Parameter]]:
        return [
            (name, parameter)
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and (self.parts is None or name.startswith(self.parts))
        ]

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        for name, parameter in self._parameters(module):
            current = parameter.clone()
            parameter.copy_(self._averages[name])
            self._averages[name].copy_(current)


def stored_names(module: nn.Module) -> set[str]:
    """What a checkpoint of ``module`` holds: its state without the frozen parameters."""
    frozen = {
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    return set(module.state_dict()) - frozen


def aliases(module: nn.Module) -> dict[str, str]:
    """Of every name of a parameter, the name under which `torch.nn.Module.named_parameters` gives it."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    return {name: first[id(parameter)] for name, parameter in module.named_parameters(remove_duplicate=False)}


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all processes (all must call this); another tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, example: Tensor) -> Tensor:
    """A whole tensor on the device of ``example``, and sharded if that is."""
    tensor = tensor.to(example.device)
    if isinstance(example, DTensor):
        # Every process has read the whole tensor: none needs to send it.
        return distribute_tensor(tensor, example.device_mesh, example.placements, src_data_rank=None)
    return tensor
