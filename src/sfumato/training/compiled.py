"""A network whose training steps are compiled by torch, for those to whom that is worth the time it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import counters

from sfumato.networks.condition import Condition
from sfumato.networks.encoder import Stage
from sfumato.networks.unet import UNet

__all__ = ["Compiled"]


class Compiled:
    """A network, to be called as itself; forward and backward are compiled.

    Only calls are compiled: the network, its weights and their names stay as they are. And only calls with gradients of
    as many pictures as `counts` says are, once for each shape. All others, such as that of a last batch that is
    smaller, work as they always did: to compile them would take longer than they do.

    Before the first of them a single block is compiled, and `say` is told how long all of them will take by that; and
    after each what it took. Where nothing can be compiled, that is told, and the network works as it is.

    Args:
        network: it.
        counts: of pictures in a whole micro-batch.
        say: told in whole sentences.
        backend: of `torch.compile`.
    """

    def __init__(
        self, network: UNet, counts: Collection[int], say: Callable[[str], None], backend: str | Callable = "inductor"
    ) -> None:
        self._network, self._counts, self._say, self._backend = network, counts, say, backend
        self._compiled: Callable[..., Tensor] | None = None
        self._works, self.compilations = True, 0

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """As of the network."""
        if not (self._works and torch.is_grad_enabled() and len(x) in self._counts):
            return self._network(x, t, condition)
        try:
            if self._compiled is None:
                self._foretell(x, t, condition)
                self._compiled = torch.compile(self._network, backend=self._backend, dynamic=False)
            before, started = _graphs(), time.perf_counter()
            output = self._compiled(x, t, condition)
        except TorchDynamoException as error:
            self._works = False
            why = " ".join(filter(None, str(error).splitlines()[:2]))  # who failed, and at what
            self._say(f"Note: this network cannot be compiled here, and works as it is ({why}).")
            return self._network(x, t, condition)
        if _graphs() > before:
            self.compilations += 1
            shape, seconds = f"{len(x)} pictures of {x.shape[3]}x{x.shape[2]}", time.perf_counter() - started
            self._say(f"Compiled for {shape} in {seconds:.0f} s; that makes {self.compilations} so far.")
        return output

    def _foretell(self, x: Tensor, t: Tensor, condition: Condition) -> None:
        """Compile one block, with what enters it, and tell how long all of them will take. Draws no random numbers."""
        blocks, given = [part for part in self._network.modules() if isinstance(part, Stage)], []
        on_gpu = [x.device] if x.device.type == "cuda" else []
        with torch.random.fork_rng(on_gpu):
            hook = blocks[0].register_forward_pre_hook(lambda block, inputs: given.extend(inputs))
            try:
                with torch.no_grad():
                    self._network(x, t, condition)
            finally:
                hook.remove()
            started = time.perf_counter()
            entering = given[0].requires_grad_()
            output = torch.compile(blocks[0], backend=self._backend, dynamic=False)(entering, *given[1:])
            torch.autograd.grad(output.sum(), entering)
            seconds = time.perf_counter() - started
        self._say(
            f"The first step compiles the network: about {seconds * len(blocks):.0f} s, since one of its {len(blocks)} "
            f"blocks took {seconds:.0f} s."
        )


def _graphs() -> int:
    """How many torch has compiled in this process."""
    return counters["stats"]["unique_graphs"]
