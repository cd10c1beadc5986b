"""Several processes that train one model, and how they come together. A process alone uses nothing of it.

Each process is a rank, as `torchrun` starts them. All do the same steps, each on its share of the pictures
(`steps.split`); the gradient is that of all pictures, whichever rank saw them. Rank 0 leads: it alone writes into the
run's folder, but for the shards of checkpoints, and it alone speaks.

Two ways: DDP, where each rank holds everything and gradients are averaged; and FSDP2, where weights, averages and the
optimizer's states are sharded, and only the layers at work are whole.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sfumato.errors import InputError, SfumatoError
from sfumato.networks.condition import Condition
from sfumato.networks.encoder import Stage
from sfumato.training.batches import Batch
from sfumato.training.config import TrainConfig
from sfumato.training.objective import Objective, Predict

__all__ = ["ALONE", "LossesOf", "World", "joined"]

STEP = timedelta(minutes=30)  # the longest that ranks wait for one another within a step, while it is saved, too
PREPARATION = timedelta(days=1)  # as long may rank 0 pack and encode pictures

LossesOf = Callable[[Batch, Condition, int], Tensor]
"""(batch, condition, how many of its pictures count) -> their losses, as `Objective.forward`"""

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """All ranks, as one of them sees them. Methods that say so must be called by all ranks, in the same order.

    Attributes:
        rank, size: which one this is, of how many.
        parallel: how they share the work.
        control: their group for what is no gradient, on the CPU; None for one alone.
    """

    rank: int = 0
    size: int = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    control: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    @property
    def shards(self) -> bool:
        """Whether each rank holds only a part of every tensor."""
        return self.size > 1 and self.parallel == "fsdp"

    def wait(self) -> None:
        """Until all ranks are here. Called by all."""
        if self.size > 1:
            dist.barrier(group=self.control)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Rank 0 does what is within, then all others, who find what it has written. Called by all."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def together(self, value: Value) -> list[Value]:
        """The values of all ranks, in their order. Called by all."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank. Called by all."""
        if self.size == 1:
            return flag
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return bool(found)

    def sum(self, values: Tensor) -> Tensor:
        """Over all ranks, on the device, which need not be waited for. Called by all."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def rows(self, values: Tensor) -> Tensor:
        """The rows of all ranks, of any number each, in the order of their pictures: on the CPU. Called by all."""
        return values if self.size == 1 else torch.cat(self.together(values.cpu()))

    def share(self, network: nn.Module, objective: Objective, predict: Predict) -> LossesOf:
        """The objective of a network that learns from the pictures of all ranks; `apart` is part of it.

        The gradient is the mean over the ranks. Under FSDP the parameters are others afterwards: sharded. Called by
        all, who have the same weights.
        """
        losses_of = partial(objective, predict)
        if self.shards:
            objective.in_step = True
            _shard(network, objective, self.size)
        elif self.size > 1:
            warnings.filterwarnings("ignore", message="Grad strides do not match")  # where a kernel of 1x1 has none
            whole = _Whole([network, *filter(None, [objective.uncertainty])], losses_of)
            return DistributedDataParallel(whole, init_sync=False, gradient_as_bucket_view=True)
        return losses_of

    def apart(self, losses_of: LossesOf, more: bool) -> AbstractContextManager[None]:
        """Around losses and their gradient: while more parts follow, DDP need not come together yet.

        FSDP does in each, since whole gradients are what there is no room for.
        """
        return losses_of.no_sync() if more and isinstance(losses_of, DistributedDataParallel) else nullcontext()

    def whole(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Whole tensors, for rank 0 alone where they are sharded: on its CPU. Called by all."""
        if not self.shards:
            return tensors
        found = {}
        for name, value in tensors.items():
            full = self.full(value)
            if self.leads:
                found[name] = full.cpu()
        return found

    def full(self, value: Tensor) -> Tensor:
        """A tensor that may be sharded, whole. Called by all."""
        return value.full_tensor() if self.shards and hasattr(value, "full_tensor") else value  # type: ignore[operator]

    def fill(self, place: Tensor, value: Tensor) -> None:
        """Copy a whole tensor to its place, or this rank's part of it."""
        if self.shards:
            from torch.distributed.tensor import DTensor, distribute_tensor

            if isinstance(place, DTensor):
                value = value.to(place.device)
                value = distribute_tensor(value, place.device_mesh, place.placements, src_data_rank=None)
        place.copy_(value)

    @property
    def described(self) -> str:
        """What this adds to the description of a machine."""
        return f", {self.size} ranks, {self.parallel}" if self.size > 1 else ""


ALONE = World()


@contextmanager
def joined(config: TrainConfig) -> Iterator[World]:
    """Join the processes that `torchrun` started with this one, or a group that there is already; else `ALONE`.

    On CUDA each gets the device of its LOCAL_RANK. When all leave without an error, they do so together.

    Raises:
        InputError: the environment names no place to meet; the config has a device that cannot be shared, or fewer
            pictures in a batch than there are ranks; there are fewer GPUs than processes.
        SfumatoError: another rank has ended.
    """
    given, size = dist.is_available() and dist.is_initialized(), _number("WORLD_SIZE", 1)
    if given:
        size = dist.get_world_size()
    if size == 1:
        yield ALONE
        return
    rank = dist.get_rank() if given else _number("RANK", None)
    try:
        if config.batch < size:
            raise InputError(f"a batch of {config.batch} pictures is too small for {size} processes")
        backend = _take_device(config.device)
        if not given:
            _meet(backend)
        world = World(rank, size, config.parallel, dist.new_group(backend="gloo", timeout=PREPARATION))
        yield world
        world.wait()
        if not given:
            dist.destroy_process_group()
    except SfumatoError as error:
        raise (error if rank == 0 else type(error)(f"rank {rank}: {error}")) from error
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise
        raise SfumatoError(
            f"rank {rank} waited for the others in vain: one of them has ended, and says why. What was saved is whole; "
            f"go on with the same command and --resume. ({str(error).splitlines()[0]})"
        ) from error


def _number(name: str, default: int | None) -> int:
    """A whole number of the environment."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise InputError(
            f"the environment has WORLD_SIZE={os.environ.get('WORLD_SIZE')}, but {name}={text}. Start with torchrun, "
            "which sets both; or unset WORLD_SIZE, to train in one process."
        )
    return int(text)


def _take_device(name: str) -> str:
    """Take the device of this process. Returns the backend for tensors on it."""
    kind, _, index = name.partition(":")
    if index or kind not in ("auto", "cpu", "cuda"):
        raise InputError(f"several processes train on cpu or cuda, each on the device of its own, not on {name!r}")
    if kind == "cpu" or not torch.cuda.is_available():
        return "gloo"
    local, there = _number("LOCAL_RANK", None), torch.cuda.device_count()
    if local >= there:
        raise InputError(f"more processes than GPUs: there are {there} here, so take --nproc-per-node {there}")
    torch.cuda.set_device(local)
    return "nccl"


def _meet(backend: str) -> None:
    try:
        dist.init_process_group(backend, timeout=STEP)
    except (ValueError, dist.DistError) as error:
        raise InputError(f"cannot join the other processes: {error}. Start them all with torchrun.") from error


class _Whole(nn.Module):
    """All that learns, and how a loss comes of it: what DDP wraps."""

    def __init__(self, learning: list[nn.Module], losses_of: LossesOf) -> None:
        super().__init__()
        self.learning, self._losses_of = nn.ModuleList(learning), losses_of

    def forward(self, batch: Batch, condition: Condition, count: int) -> Tensor:
        return self._losses_of(batch, condition, count)


def _shard(network: nn.Module, objective: Objective, size: int) -> None:
    try:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter  # noqa: F401 (as `sharded` needs it)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise InputError(
            f"torch {torch.__version__} is too old for --parallel fsdp; take a newer one, or ddp"
        ) from error
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # which nothing changes in place
    mesh = init_device_mesh(objective.device.type, (size,))
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # FSDP2 takes no other
    for part in network.modules():
        if isinstance(part, Stage):
            fully_shard(part, mesh=mesh)
    fully_shard(network, mesh=mesh)
    if objective.uncertainty is not None:
        fully_shard(objective.uncertainty, mesh=mesh)
