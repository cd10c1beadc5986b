"""A small network's calls, one after the other without Python between its operations.

A network of small pictures spends more time on the way to its operations than in them. Within a run of sampling all its
calls do the same: so one call is recorded, as a list of operations on tensors that stay where they are, and the next
ones run through that list. What follows from nothing that changes (frequencies, the keys of a text) is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sfumato.networks.condition import Condition
from sfumato.networks.kernels.eager import Tape, eager

__all__ = ["Replay"]

MOST_BYTES = 32 * 2**20  # that a recording holds; a network with larger tensors has little to gain
MOST_SHAPES = 4  # of calls in a run: with guidance and without it
UNFILLED = {torch.ops.aten.empty_like.default, torch.ops.aten.new_empty.default}
OVERWRITING = {torch.ops.aten.copy_.default, torch.ops.aten.fill_.Scalar, torch.ops.aten.fill_.Tensor}


class Replay:
    """Calls of a network that is the same for all of them, such as those of a run of sampling.

    The first call with pictures of a shape and a condition goes the network's own way, the second one too and is
    recorded, the next ones repeat it. All give the same numbers, bit for bit. What cannot be repeated always goes the
    network's own way: calls for gradients, on another device, of another number type, with too large tensors, with
    random numbers, or with a choice that depends on numbers.

    A call is recorded again when weights were changed in place since.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __call__(self, network: nn.Module, x: Tensor, t: float, condition: Condition) -> Tensor:
        """network(x, t, condition)."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and eager(x)
        other = torch.is_grad_enabled() or torch.is_inference_mode_enabled() or torch.is_autocast_enabled("cpu")
        if other or not plain:
            return network(x, t, condition)
        call = next((call for call in self._calls if call.fits(network, x, condition)), None)
        if call is not None:
            return call(x, t)
        if len(self._calls) < MOST_SHAPES:
            self._calls.append(_Call(network, x, condition))
        return network(x, t, condition)


class _Call:
    """Calls with one shape and one condition. They keep what they were made for, so that nothing else can be it."""

    def __init__(self, network: nn.Module, x: Tensor, condition: Condition) -> None:
        self._network, self._shape, self._condition = network, x.shape, condition
        self._recording: _Recording | None = None
        self._possible = True

    def fits(self, network: nn.Module, x: Tensor, condition: Condition) -> bool:
        return network is self._network and x.shape == self._shape and condition is self._condition

    def __call__(self, x: Tensor, t: float) -> Tensor:
        recording = self._recording
        if recording is not None and recording.holds():
            return recording.repeat(x, t)
        if not self._possible:
            return self._network(x, t, self._condition)
        self._recording, recording = None, _Recording(self._network, x, t)
        with recording:
            output = self._network(recording.x, recording.t, self._condition)
        if recording.ends(output):
            self._recording = recording
        else:
            self._possible = False
        return output.clone()


class _Recording(Tape):
    """The operations of one call that depend on x or t, in their order, and the tensors they work on."""

    def __init__(self, network: nn.Module, x: Tensor, t: float) -> None:
        super().__init__()
        self.x, self.t = x.clone(), torch.tensor(t, dtype=torch.float64)
        self._weights = [(p, p._version) for p in (*network.parameters(), *network.buffers())]
        self._steps: list[tuple[Callable[[], Any], bool]] = []  # and whether it is a kernel, which returns 0
        self._held: list[Any] = []  # so that memory is used for nothing else
        self._changing = {_memory(self.x), _memory(self.t)}  # memory with numbers that depend on x or t
        self._whole = set(self._changing)  # of which steps write all of it
        self._possible, self._bytes = True, 0

    def holds(self) -> bool:
        """Whether the weights are what they were."""
        return all(weight._version == version for weight, version in self._weights)

    def ends(self, output: Tensor) -> bool:
        """With this output. Whether it can be repeated."""
        self.output = output
        return self._possible and _memory(output) in self._changing

    def repeat(self, x: Tensor, t: float) -> Tensor:
        self.x.copy_(x)
        self.t.fill_(t)
        for step, kernel in self._steps:
            failed = step()
            if kernel and failed:
                raise MemoryError("no memory is left for what a kernel of the network needs beside its result")
        return self.output.clone()

    def native(self, function: Callable[..., int], arguments: tuple[Any, ...], wrote: Tensor) -> None:
        if self._possible:
            self._held.append(arguments)
            self._changing.add(_memory(wrote))
            self._whole.add(_memory(wrote))
            step = partial(function, *[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])
            self._steps.append((step, True))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._possible:
            self._possible = self._recorded(func, args, kwargs, result)
            if not self._possible:
                self._held, self._steps = [], []
        return result

    def _recorded(self, func: Any, args: tuple, kwargs: dict, result: Any) -> bool:
        """Whether what was done can be repeated, and is noted for it."""
        before = {_memory(value) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        made = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        self._held.append((args, kwargs, result))
        if _random(func, args, kwargs):
            return False
        if not before & self._changing or func in UNFILLED:
            self._bytes += sum(value.nbytes for value in made if _memory(value) not in before)
            return self._bytes <= MOST_BYTES
        if torch.Tag.dynamic_output_shape in func.tags:
            return False
        schema = func._schema
        if schema.is_mutable:
            places = [a for place, a in zip(schema.arguments, args, strict=False) if _written(place)]
            known = {_memory(place) for place in places if isinstance(place, Tensor)}
            # what is added to something that no step makes anew would be added again and again
            if len(places) != 1 or not (known <= self._whole or func in OVERWRITING):
                return False
            self._changing |= known
            self._steps.append((partial(func, *args, **kwargs), False))
            return True
        if made and all(_memory(value) in before for value in made):
            return True  # views of what is there
        if not made or len(made) != len(schema.returns) or any(_memory(value) in before for value in made):
            return False  # a number, or a list
        self._changing |= {_memory(value) for value in made}
        self._whole |= {_memory(value) for value in made}
        self._bytes += sum(value.nbytes for value in made)
        self._steps.append((_into(func, args, kwargs, made), False))
        return self._bytes <= MOST_BYTES


def _memory(x: Tensor) -> int:
    """A number of the memory that its numbers lie in."""
    return x.untyped_storage()._cdata


def _random(func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether it draws. Attention is said to, but does for dropout only."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    return "dropout_p" not in names or bool(given.get("dropout_p", 0))


def _written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _into(func: Any, args: tuple, kwargs: dict, made: list[Tensor]) -> Callable[[], Any]:
    """What does it again, into the same tensors."""
    wanted = [(a.name, str(a.type)) for a in func._schema.arguments]
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        outs = [a.name for a in other._schema.arguments if a.is_out]
        inputs = [(a.name, str(a.type)) for a in other._schema.arguments if not a.is_out]
        if len(outs) == len(made) and inputs == wanted:
            return partial(other, *args, **kwargs, **dict(zip(outs, made, strict=True)))

    def again() -> None:
        result = func(*args, **kwargs)
        for place, value in zip(made, (result,) if isinstance(result, Tensor) else result, strict=True):
            place.copy_(value)

    return again
