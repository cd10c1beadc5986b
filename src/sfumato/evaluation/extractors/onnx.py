"""A network in an ONNX file as an extractor, through onnxruntime."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.evaluation.extractors.batches import BATCH, in_batches
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.own import check_name, width_of
from sfumato.evaluation.extractors.preprocessing import IMAGENET, Preprocessing

__all__ = ["onnx_extractor"]


def onnx_extractor(
    file: Path,
    device: str = "cpu",
    mean: tuple[float, float, float] = IMAGENET[0],
    std: tuple[float, float, float] = IMAGENET[1],
    output: str | None = None,
) -> Extractor:
    """What a network makes of each picture, flattened. Its name is "ONNX-" and the file's.

    Args:
        file: .onnx, with its weights inside. One input: float32 (N, 3, height, width) with height and width in numbers,
            N a name or 1.
        device: where it works.
        mean, std: that it expects, as in `Preprocessing`.
        output: name of the output that is taken; none: the only one.

    Raises:
        InputError: when the extra `onnx` is not installed, for a file that is no such network, or an output that is not
            finite numbers for each picture on its own.
    """
    name = f"ONNX-{file.stem}"
    check_name(name)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    session = _session(file, content, device)
    entry, size, batch = _input(file, session)
    chosen = _output(file, session, output)
    prepare = Preprocessing(size, mean, std)

    def embed(x: Tensor) -> Tensor:
        with _told(file):
            return torch.from_numpy(np.asarray(session.run([chosen], {entry: prepare(x).numpy()})[0], np.float32))

    features = in_batches(embed, batch=batch)
    return Extractor(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        preprocessing=str(prepare),
        width=width_of(features, size, name),
        features=features,
        settings=f"output {chosen}",
    )


def _session(file: Path, content: bytes, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("a network in an ONNX file needs an extra: pip install 'sfumato[onnx]'") from error
    provider: Any = "CPUExecutionProvider"
    if torch.device(device).type == "cuda":
        # not in TF32, as everywhere here
        provider = ("CUDAExecutionProvider", {"device_id": str(torch.device(device).index or 0), "use_tf32": "0"})
        if provider[0] not in onnxruntime.get_available_providers():
            raise InputError("onnxruntime cannot use the GPU here: pip install onnxruntime-gpu, or take the device cpu")
    elif torch.device(device).type != "cpu":
        raise InputError(f"a network in an ONNX file works on cpu or cuda, not on {device!r}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    # nothing is read from other files: that would be no part of the checksum
    with tempfile.TemporaryDirectory() as empty, _told(file):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        return onnxruntime.InferenceSession(content, options, providers=[provider])


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """The library's errors, as ours: a damaged file can fail in any way."""
    try:
        yield
    except Exception as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{file} is no network that can be run, with all its weights inside: {cause[0]}") from error


def _input(file: Path, session: Any) -> tuple[str, tuple[int, int], int]:
    """The input's name, the height and width that it takes, and how many pictures at a time."""
    entries = session.get_inputs()
    shapes = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in entries)
    wanted = f"{file} takes {shapes}; wanted is one input of pictures, tensor(float) [N, 3, height, width]"
    if len(entries) != 1 or entries[0].type != "tensor(float)" or len(entries[0].shape) != 4:
        raise InputError(wanted)
    count, channels, height, width = entries[0].shape
    if channels != 3:
        raise InputError(wanted)
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(f"{wanted}, with height and width in numbers: export it for one size of pictures")
    if isinstance(count, int) and count != 1:
        raise InputError(f"{wanted}, with N a name or 1: export it with a dynamic batch")
    return entries[0].name, (height, width), 1 if count == 1 else BATCH


def _output(file: Path, session: Any, output: str | None) -> str:
    names = [entry.name for entry in session.get_outputs()]
    if output is None and len(names) > 1:
        raise InputError(f"{file} has the outputs {', '.join(names)}: choose one, onnx_extractor(file, output=…)")
    if output is not None and output not in names:
        raise InputError(f"{file} has no output {output!r}; it has {', '.join(names)}")
    return output or names[0]
