"""Training with weights, gradients and optimiser state spread over the processes (FSDP)."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from motiongpt3.training.averaging import aliases, whole

# A training step in which every parameter has a say; `shard` gives it to the module.
STEP = "sharded_training_step"


class FullyShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for PyTorch's `fully_shard`, for modules whose parts are called in any order.

    The module is one unit: its weights are gathered for a step and let go behind it, so that weights,
    gradients and optimiser state at rest are divided by the number of processes. It works with `gloo` on
    CPUs, too. Checkpoints are the single files of the other strategies.

    Args:
        processes: all there are, on all machines.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.train_step_context():
            return self._through_forward(STEP, *args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.val_step_context():
            return self._through_forward("validation_step", *args, **kwargs)

    def _through_forward(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method as ``forward``, around which the weights are gathered."""
        module = self.lightning_module
        assert module is not None
        return self._forward_redirection(module, module, name, *args, **kwargs)


def shard(module: LightningModule) -> None:
    """Have ``module`` sharded when the Trainer configures it."""

    def configure_model() -> None:
        if not isinstance(module, FSDPModule):
            mesh = module.device_mesh
            assert mesh is not None
            fully_shard(module, mesh=mesh["data_parallel"], reshard_after_forward=True)

    def training_step(*args: Any, **kwargs: Any) -> Tensor:
        # Gradients are exchanged in one piece: it must have the same size on every process, also where the
        # share of one has no lesson of some kind and leaves a part of the model out.
        loss = module.training_step(*args, **kwargs)
        assert isinstance(loss, Tensor)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return loss + 0.0 * torch.stack([parameter.sum() for parameter in trained]).sum()

    # What Lightning wants to see overridden, on this one object.
    module.configure_model = configure_model  # type: ignore[method-assign]
    setattr(module, STEP, training_step)


def gather(module: nn.Module) -> None:
    """Put whole parameters in the place of sharded ones; all processes must call this."""
    first = aliases(module)
    gathered = {
        name: nn.Parameter(whole(parameter.detach()).clone(), parameter.requires_grad)
        for name, parameter in module.named_parameters()
    }
    for name, alias in first.items():
        owner, _, leaf = name.rpartition(".")
        module.get_submodule(owner).register_parameter(leaf, gathered[alias])
