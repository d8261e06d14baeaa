"""What `test_exports.py` runs in processes of their own."""

import copy
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter
from transformers.exporters.utils import decompose_for_generation

MODELS = {"bert": AutoModel, "llama": AutoModelForCausalLM, "t5": AutoModelForSeq2SeqLM}
# what the outputs are compared by
OUTPUTS = {"bert": "last_hidden_state", "llama": "logits", "t5": "logits"}


def make_prompt(rows: int, length: int) -> dict[str, torch.Tensor]:
    """Token ids; the first row is padded on the left by two."""
    ids = torch.randint(2, 300, (rows, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    return {"input_ids": ids, "attention_mask": mask}


def make_inputs(name: str, rows: int, length: int) -> dict[str, torch.Tensor]:
    inputs = make_prompt(rows, length)
    return {**inputs, "decoder_input_ids": inputs["input_ids"][:, : length - 3]} if name == "t5" else inputs


def difference(found: Any, wanted: torch.Tensor, mask: torch.Tensor | None = None) -> float:
    """Largest difference; of real tokens, where outputs and mask are of the same tokens."""
    difference = (torch.as_tensor(found) - wanted).abs()
    if mask is not None and mask.shape == wanted.shape[:2]:
        difference = difference[mask.bool()]
    return float(difference.max() / wanted.abs().max())


def export(
    checkpoints: Any, exporter: Any, config: Any, shape: tuple[int, int], names: tuple[str, ...] = tuple(MODELS)
) -> dict[str, float]:
    """Difference of each model's export, made with 2 rows of 9 tokens, for inputs of a shape."""
    found = {}
    for name in names:
        model = checkpoints.load(MODELS[name], name).eval()
        exported = exporter.export(model, make_inputs(name, 2, 9), config=config)
        exported.save_pretrained(f"{checkpoints.workplace}/{name}-{type(exporter).__name__}")
        inputs = make_inputs(name, *shape)
        with torch.no_grad():
            wanted = model(**inputs)[OUTPUTS[name]]
        found[name] = difference(exported(**inputs)[OUTPUTS[name]], wanted, inputs["attention_mask"])
    return found


def export_generation(checkpoints: Any, name: str) -> dict[str, float]:
    """Difference of the exported prefill and of the exported step with a cache, at another shape."""
    model = checkpoints.load(MODELS[name], name).eval()
    model.generation_config.eos_token_id = None
    exported = OnnxExporter().export_for_generation(model, make_prompt(2, 7), config=OnnxConfig(dynamic=True))
    found = {}
    for stage, (part, inputs) in decompose_for_generation(model, make_prompt(3, 11)).items():
        with torch.no_grad():
            wanted = part(**copy.deepcopy(inputs)).logits
        known = exported.components[stage].metadata.kwargs
        given = {key: value for key, value in copy.deepcopy(inputs).items() if key in known}
        found[stage] = difference(exported.runners[stage](**given).logits, wanted, inputs.get("attention_mask"))
    return found


def torch_export(checkpoints: Any) -> Any:
    return export(checkpoints, DynamoExporter(), DynamoConfig(dynamic=True), (3, 13))


def onnx(checkpoints: Any) -> Any:
    return export(checkpoints, OnnxExporter(), OnnxConfig(dynamic=True), (3, 13))


def onnx_generation(checkpoints: Any) -> Any:
    return export_generation(checkpoints, "llama")


def onnx_generation_encoder_decoder(checkpoints: Any) -> Any:
    return export_generation(checkpoints, "t5")


def executorch(checkpoints: Any) -> Any:
    from transformers.exporters.exporter_executorch import ExecutorchConfig, ExecutorchExporter

    return export(checkpoints, ExecutorchExporter(), ExecutorchConfig(), (2, 9), ("bert", "llama"))
