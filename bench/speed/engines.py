"""diffusers' network in other engines, each a function of pictures and step indices; those that are installed."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.files import cache_folder

__all__ = ["Forward", "compiled", "exported", "plain"]

Forward = Callable[[Tensor, Tensor], Tensor]
"""(x (N, C, H, W), step indices (N,)) -> eps (N, C, H, W)"""


class Eps(nn.Module):
    """The network as a function of two tensors that returns one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        return self.network(x, i, return_dict=False)[0]


def plain(network: nn.Module) -> Forward:
    return Eps(network)


def compiled(network: nn.Module, threads: int) -> Forward:
    """By torch.compile, for the shape of its first call. What it makes is kept, by number of threads."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder() / "bench" / f"inductor-{threads}")
    return torch.compile(Eps(network), dynamic=False)


def exported(network: nn.Module, x: Tensor, i: Tensor, threads: int) -> dict[str, Forward]:
    """In onnxruntime and OpenVINO, in float32, for this shape alone."""
    there = [name for name in ("onnxruntime", "openvino") if find_spec(name) and find_spec("onnx")]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, and that there is a newer exporter, which takes ten times as long
        path = Path(folder) / "network.onnx"
        if there:
            names: dict[str, Any] = {"input_names": ["x", "i"], "output_names": ["eps"], "dynamo": False}
            torch.onnx.export(Eps(network), (x, i), path, **names)
        return {name: ENGINES[name](path, threads) for name in there}


def _onnxruntime(path: Path, threads: int) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x, i: torch.from_numpy(session.run(None, {"x": x.numpy(), "i": i.numpy()})[0])


def _openvino(path: Path, threads: int) -> Forward:
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(path, "CPU", options)
    return lambda x, i: torch.from_numpy(model([x.numpy(), i.numpy()])[0])


ENGINES = {"onnxruntime": _onnxruntime, "openvino": _openvino}
