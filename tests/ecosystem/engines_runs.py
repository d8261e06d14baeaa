"""What `test_engines.py` runs in processes of their own: a probe that calls a model as vLLM and SGLang call one.

Both replace the attention of transformers by their own, which knows the documents of a batch and reads no mask."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AutoModel

# all tokens of a batch stand in one row; positions start again with each document
LENGTHS = (5, 4)


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, attention_instances: Any = None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention within each document, (1, H, T, D) to rows of tokens (T, H D), as vLLM's."""
    attention_instances[module.layer_idx].append({"scaling": kwargs["scaling"], "is_causal": module.is_causal})
    parts = [part.split(LENGTHS, dim=2) for part in (query, key, value)]
    outputs = [
        F.scaled_dot_product_attention(*part, is_causal=module.is_causal, scale=kwargs["scaling"], enable_gqa=True)
        for part in zip(*parts, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).flatten(2).squeeze(0), None


AttentionInterface.register("probe", attend)


def probe(checkpoints: Any, name: str) -> dict[str, Any]:
    """What the rules of both engines ask of a base model, and its difference from separate documents."""
    model = checkpoints.load(AutoModel, name, attn_implementation="probe").eval()
    plain = checkpoints.load(AutoModel, name).eval()
    calls: dict[int, list[Any]] = {number: [] for number in range(model.config.num_hidden_layers)}
    ids = torch.randint(2, 300, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    position_ids = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    inputs = {"position_ids": position_ids, "attention_instances": calls, "return_dict": False}
    inputs |= {} if name == "bert" else {"use_cache": False}
    with torch.no_grad():
        found = model(ids, **inputs)[0]
        wanted = torch.cat([plain(part).last_hidden_state for part in ids.split(LENGTHS, dim=1)], dim=1)
    attention = next(module for module in model.modules() if hasattr(module, "layer_idx"))
    config = json.loads((Path(checkpoints.folder(name)) / "config.json").read_text(encoding="utf-8"))
    return {
        "difference": float((found - wanted).abs().max()),
        "calls": [len(layer) for layer in calls.values()],
        "is_causal": [call["is_causal"] for layer in calls.values() for call in layer],
        "scaling": all(isinstance(call["scaling"], float) for layer in calls.values() for call in layer),
        "compatible": bool(model._supports_attention_backend),
        "by_name": "ALL_ATTENTION_FUNCTIONS" in inspect.getsource(type(attention).forward),
        "auto_map": "AutoModel" in config.get("auto_map", {}),
        "module_lists": sum(isinstance(child, nn.ModuleList) for child in model.children()),
        "tp_plan": bool(model.config.base_model_tp_plan),
    }


def decoder(checkpoints: Any) -> Any:
    return probe(checkpoints, "llama")


def experts(checkpoints: Any) -> Any:
    found = probe(checkpoints, "experts")
    model = checkpoints.load(AutoModel, "experts")
    return {**found, "experts": all(hasattr(layer.mlp, "experts") for layer in model.layers)}


def encoder(checkpoints: Any) -> Any:
    return probe(checkpoints, "bert")


def score_bias(checkpoints: Any) -> Any:
    """Such an engine would drop the bias: the error that refuses it."""
    checkpoints.folder("alibi")
    try:
        checkpoints.load(AutoModel, "alibi", attn_implementation="probe")
    except ValueError as error:
        return str(error)
    return ""
