"""Whether a call may go straight to a kernel, and the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _python_dispatch

__all__ = ["Tape", "eager", "native"]

PLAIN = (Tensor, nn.Parameter)


class Tape(_python_dispatch.TorchDispatchMode):
    """What is told of every call of a kernel, too, and lets them go straight."""

    def native(self, function: Callable[..., int], arguments: tuple[Any, ...], wrote: Tensor) -> None:
        """`function` was called with these, and wrote into one of them."""
        raise NotImplementedError

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: to hide a tape from torch's compiler would be to import it, more than a second."""
        return False


def eager(x: Tensor) -> bool:
    """True: nothing but a `Tape` looks at single operations now, so that a kernel can be called without one around it.

    An operation costs about 40 µs a call, which is much of a small network's time, and its first call imports torch's
    compiler, which takes seconds. Compilers, exporters, tracers, modes and tensors of other classes need it.
    """
    if torch.compiler.is_compiling() or type(x) not in PLAIN:
        return False
    mode = _python_dispatch._get_current_dispatch_mode()
    traced = torch.jit.is_tracing()  # type: ignore[reportPrivateImportUsage]
    return not traced and (mode is None or isinstance(mode, Tape))


def native(function: Callable[..., int], *arguments: Any, wrote: Tensor) -> None:
    """Call a kernel, with tensors for pointers to their numbers and None for null.

    Args:
        wrote: that of the tensors which it writes into.

    Raises:
        MemoryError: when it finds none for itself.
    """
    if function(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]):
        raise MemoryError("no memory is left for what a kernel of the network needs beside its result")
    mode = _python_dispatch._get_current_dispatch_mode()
    if isinstance(mode, Tape):
        mode.native(function, arguments, wrote)
