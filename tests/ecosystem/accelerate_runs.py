"""What `test_accelerate.py` runs in processes of their own."""

import copy
from typing import Any

import torch
import transformers
from accelerate import cpu_offload, disk_offload, infer_auto_device_map
from accelerate.utils import compute_module_sizes

# checkpoint -> its heads, by the Auto classes that open them
HEADS = {
    "bert": (
        "AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification", "AutoModelForTokenClassification",
        "AutoModelForQuestionAnswering", "AutoModelForMultipleChoice",
    ),
    "llama": (
        "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModelForTokenClassification",
        "AutoModelForQuestionAnswering",
    ),
    "experts": ("AutoModelForCausalLM",),
    "t5": (
        "AutoModel", "AutoModelForSeq2SeqLM", "AutoModelForSequenceClassification", "AutoModelForQuestionAnswering",
        "AutoModelForTextEncoding",
    ),
}  # fmt: skip


def make_batch(model: Any, auto_class: str) -> dict[str, torch.Tensor]:
    """Two rows, the second padded, each ending in one </s>; two choices of an example for multiple choice."""
    ids = torch.randint(2, 300, (2, 9), generator=torch.Generator().manual_seed(1))
    ids[0, -1] = ids[1, -3] = 1
    ids[1, -2:] = 0
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    if "MultipleChoice" in auto_class:
        return {name: values[None] for name, values in batch.items()}
    if model.config.is_encoder_decoder and auto_class in ("AutoModel", "AutoModelForSeq2SeqLM"):
        batch["decoder_input_ids"] = ids[:, :4]
    return batch


def tensors_of(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: value for name, value in model(**batch).items() if isinstance(value, torch.Tensor)}


def heads(checkpoints: Any) -> Any:
    """Auto class and checkpoint -> largest difference of an output with offloaded weights, by kind of offloading."""
    differences = {}
    for name, auto_classes in HEADS.items():
        for auto_class in auto_classes:
            kind = getattr(transformers, auto_class)
            model = checkpoints.load(kind, name).eval()
            folder = f"{checkpoints.workplace}/{name}-{auto_class}"
            model.save_pretrained(folder)
            # every block alone is larger
            limits = {"cpu": max(compute_module_sizes(model).values()) // 4, "disk": "1GB"}
            device_map = infer_auto_device_map(model, limits, no_split_module_classes=model._no_split_modules)
            spread = {"device_map": device_map, "offload_folder": f"{folder}-map", **checkpoints.options}
            offloaded = {
                "cpu_offload": cpu_offload(copy.deepcopy(model), torch.device("cpu")),
                "disk_offload": disk_offload(copy.deepcopy(model), f"{folder}-disk", torch.device("cpu")),
                "device_map": kind.from_pretrained(folder, **spread).eval(),
            }
            batch = make_batch(model, auto_class)
            wanted = tensors_of(model, batch)
            for how, other in offloaded.items():
                found = tensors_of(other, batch)
                differences[f"{name} {auto_class} {how}"] = max(
                    float((found[key] - value).abs().max()) for key, value in wanted.items()
                )
            assert "disk" in device_map.values(), (name, auto_class, device_map)
    return differences


def generate(checkpoints: Any) -> Any:
    """Greedy tokens with weights in memory and on disk."""
    tokens = {}
    for name, auto_class in {"llama": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}.items():
        model = checkpoints.load(getattr(transformers, auto_class), name).eval()
        batch = make_batch(model, "")
        settings = {"max_new_tokens": 6, "do_sample": False}
        in_memory = model.generate(**batch, **settings)
        disk_offload(model, f"{checkpoints.workplace}/{name}", torch.device("cpu"))
        tokens[name] = [in_memory.tolist(), model.generate(**batch, **settings).tolist()]
    return tokens
