"""Encoders in the engines that people run on CPUs: ONNX Runtime (float32, 8-bit integers) and OpenVINO.

Legend: B sentences, T tokens, C hidden size."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .batches import Batch
from .peer_models import PeerNotInstalledError

__all__ = ["ENGINES", "Encode", "export_onnx"]

# a batch -> last hidden states (B, T, C)
Encode = Callable[[Batch], torch.Tensor]
INPUTS = ("input_ids", "attention_mask")


class HiddenStates(nn.Module):
    """An encoder with tensors as inputs and output, as exporters want it."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True).last_hidden_state


def needed(module: str, package: str) -> Any:
    """An installed module. Raises PeerNotInstalledError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PeerNotInstalledError(f"{package} is not installed: pip install {package}") from error


def export_onnx(encoder: Any, path: Path) -> Path:
    """Write an encoder with eager attention as ONNX for any B and T."""
    needed("onnxscript", "onnxscript")
    ids = torch.arange(51).view(3, 17) % encoder.config.vocab_size
    sizes = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("length", min=2, max=512)}
    torch.onnx.export(
        HiddenStates(encoder).eval(), (ids, torch.ones_like(ids)), path, dynamo=True, external_data=False,
        input_names=INPUTS, output_names=["last_hidden_state"], dynamic_shapes=(sizes, sizes), verbose=False,
    )  # fmt: skip
    return path


def open_in_onnxruntime(path: Path, threads: int) -> Encode:
    runtime = needed("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def encode(batch: Batch) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: batch[name].numpy() for name in INPUTS})[0])

    return encode


def open_in_onnxruntime_int8(path: Path, threads: int) -> Encode:
    """Weights in 8-bit integers, inputs of products rounded on the way: ONNX Runtime's dynamic quantisation."""
    quantization = needed("onnxruntime.quantization", "onnxruntime")
    smaller = path.with_suffix(".int8.onnx")
    quantization.quantize_dynamic(path, smaller, weight_type=quantization.QuantType.QInt8)
    return open_in_onnxruntime(smaller, threads)


def open_in_openvino(path: Path, threads: int) -> Encode:
    openvino = needed("openvino", "openvino")
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.convert_model(path), "CPU", settings)

    def encode(batch: Batch) -> torch.Tensor:
        return torch.from_numpy(compiled([batch[name].numpy() for name in INPUTS])[0])

    return encode


# name of --engines -> (ONNX file, threads) -> what encodes a batch
ENGINES: dict[str, Callable[[Path, int], Encode]] = {
    "onnxruntime": open_in_onnxruntime,
    "onnxruntime-int8": open_in_onnxruntime_int8,
    "openvino": open_in_openvino,
}
