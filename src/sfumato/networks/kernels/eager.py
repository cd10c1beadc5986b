"""Whether a call may go straight to a kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils import _python_dispatch

__all__ = ["eager", "pointer"]

PLAIN = (Tensor, nn.Parameter)


def eager(x: Tensor) -> bool:
    """True: nothing looks at single operations now, so that the kernel can be called without one around it.

    An operation costs about 40 µs a call, which is much of a small network's time, and its first call imports torch's
    compiler, which takes seconds. Compilers, exporters, tracers, modes and tensors of other classes need it.
    """
    if torch.compiler.is_compiling() or type(x) not in PLAIN:
        return False
    traced = torch.jit.is_tracing()  # type: ignore[reportPrivateImportUsage]
    return not traced and _python_dispatch._get_current_dispatch_mode() is None


def pointer(x: Tensor | None) -> int:
    """Where its numbers are; 0 (null) for None."""
    return 0 if x is None else x.data_ptr()
