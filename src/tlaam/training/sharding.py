"""Weights, gradients and optimiser states sharded over devices (FSDP), for backbones too large for one device.

Each device keeps a shard of every tensor; a stage's weights are gathered when they are needed. Checkpoints hold whole
tensors, as with any strategy, so a run can continue with another strategy. A plain copy of the network, filled on
demand, is the one that is evaluated and kept.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from lightning.fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from tlaam.errors import ModelError
from tlaam.models.architecture import Architecture
from tlaam.models.attention.insertion import stages_of
from tlaam.models.backbone import Backbone

STRATEGY = "fsdp"
"""Name of this strategy in the settings."""


def strategy() -> ModelParallelStrategy:
    """Return Lightning's strategy that shards a network over all devices with PyTorch's ``fully_shard`` (FSDP2)."""
    return ModelParallelStrategy(parallelize_fn=lambda module, _mesh: module)  # `sharded_copy` has done that already


def sharded_copy(network: Architecture, device: torch.device) -> Architecture:
    """Return a copy with sharded parameters, one shard per device; every device must call it with the same network.

    Args:
        network: the network, on the CPU.
        device: this process's device, which holds its shards.
    """
    from torch.distributed.fsdp import fully_shard

    # The logits may be views of one another; nothing changes them in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    sharded = copy.deepcopy(network)
    sharded.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # others cannot be sharded
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for backbone in [module for module in sharded.modules() if isinstance(module, Backbone)]:
        for stage in _stages(backbone.network):
            fully_shard(stage, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    return sharded


def _stages(network: nn.Module) -> list[nn.Module]:
    try:
        chain = stages_of(network)
    except ModelError:  # unknown networks are gathered as a whole
        return []
    stages = [container[key] for container, key in chain]
    return [stage for stage in stages if stage is not None]


def local(values: Tensor) -> Tensor:
    """Return this device's shard of a sharded tensor; other tensors are returned unchanged."""
    return values.to_local() if isinstance(values, DTensor) else values


def whole(state: Any) -> Any:
    """Return a state with its shards gathered on the CPU; every device must call it, in the same order."""
    if isinstance(state, DTensor):
        return state.full_tensor().cpu()
    if isinstance(state, dict):
        return {key: whole(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(whole(value) for value in state)
    return state


def load_whole(network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a sharded network and its optimiser from the whole tensors ``model`` and ``optimizer`` of a checkpoint."""
    own = network.state_dict()
    network.load_state_dict({name: _shard_like(value, own[name]) for name, value in state["model"].items()})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {
        index: {
            name: _shard_like(value, parameters[index]) if _fits(value, parameters[index]) else value
            for name, value in values.items()
        }
        for index, values in state["optimizer"]["state"].items()
    }
    optimizer.load_state_dict({**state["optimizer"], "state": kept})


def _fits(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _shard_like(value: Tensor, shard: Tensor) -> Tensor:
    if not isinstance(shard, DTensor):
        return value
    return distribute_tensor(value.to(shard.device), shard.device_mesh, shard.placements)
