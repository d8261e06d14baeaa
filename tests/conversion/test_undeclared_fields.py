"""Fields that a native configuration does not declare: whatever transformers reads has an answer."""

import ast
import dataclasses
import functools
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion import ConversionError, from_native, to_native
from hf_tfm.conversion.auto_classes import AUTO_CLASSES, registered_classes
from hf_tfm.conversion.bidirectional import ALWAYS_CAUSAL
from hf_tfm.conversion.family import SHARED_FIELDS
from hf_tfm.conversion.registry import FAMILIES
from hf_tfm.conversion.undeclared_fields import HARMLESS_VALUES, WITHOUT_EFFECT, unread_fields
from tests.conversion.families.cases import CASES
from tests.conversion.tiny import SIZES, Case, padded_batch, tiny_native

# Modules of transformers that read the configuration of every model.
HOST_MODULES = (
    "masking_utils", "modeling_rope_utils", "cache_utils", "modeling_layers", "modeling_flash_attention_utils",
    "loss.loss_utils", "generation.utils", "integrations.sdpa_attention", "integrations.flash_attention",
    "integrations.flex_attention", "integrations.eager_paged", "integrations.sdpa_paged", "integrations.flash_paged",
    "integrations.moe",
)  # fmt: skip
CONFIG_NAMES = {"config", "text_config", "effective_config", "layer_config", "decoder_config"}
# Fields that only other classes of a module read: encoders of images in those of Gemma 3 and Cohere Compass.
OTHER_CLASSES = {
    "cohere_compass_text": {
        "deepstack_visual_indexes", "depth", "image_token_id", "in_channels", "num_heads", "num_position_embeddings",
        "out_hidden_size", "patch_size", "spatial_merge_size", "temporal_patch_size", "text_config", "video_token_id",
        "vision_config",
    },
    "gemma3_text": {
        "image_size", "image_token_id", "layer_norm_eps", "mm_tokens_per_image", "patch_size", "text_config",
        "vision_config",
    },
}  # fmt: skip
# Fields of sub-configurations, objects of generation, and what modules of transformers keep on configurations.
NOT_FIELDS = {"is_quantized", "_is_quantized", "get", "encoder", "decoder", "cache_implementation", "qk_head_dim"}


def is_config(node: ast.expr) -> bool:
    """Whether an expression is called like the configuration of a model."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "get_text_config"
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in CONFIG_NAMES


@functools.cache
def fields_read(module: str) -> set[str]:
    """Names of the configuration's attributes that a module reads."""
    names = set()
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and is_config(node.value):
            names.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            name = node.args[1]
            if is_config(node.args[0]) and isinstance(name, ast.Constant):
                names.add(name.value)
    return names


def declared_fields(config_class: Any) -> set[str]:
    """Fields, properties and methods of a configuration class and of those that it contains."""
    config = config_class()
    parts = [config, *(value for value in vars(config).values() if isinstance(value, PreTrainedConfig))]
    fields = {field.name for part in parts for field in dataclasses.fields(part)}
    return fields.union(*(dir(type(part)) for part in parts), *(part.attribute_map for part in parts))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_field_that_transformers_reads_has_an_answer(name: str) -> None:
    """A field is declared (then `test_completeness.py` asks the family for it), known to the family, or in a table."""
    family, config_class = FAMILIES[name], CONFIG_MAPPING[name]
    native_modules = {
        cls.__module__ for head in family.heads for cls in registered_classes(AUTO_CLASSES[head], config_class)
    }
    read = set().union(*(fields_read(f"transformers.{module}") for module in HOST_MODULES))
    read = read.union(*map(fields_read, native_modules)) - OTHER_CLASSES.get(name, set())
    answered = declared_fields(config_class) | family.known_fields | HARMLESS_VALUES.keys() | WITHOUT_EFFECT.keys()
    generation = set(vars(GenerationConfig()))
    unanswered = sorted(read - answered - set(SHARED_FIELDS) - generation - NOT_FIELDS)
    assert not unanswered, (
        f"{name}: transformers reads these fields, which {config_class.__name__} does not declare: "
        f"{', '.join(unanswered)}; add them to the family, or to hf_tfm/conversion/undeclared_fields.py"
    )


def make_llama(**fields: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**SIZES, **fields)).eval()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sliding_window", 4),
        ("attention_chunk_size", 4),
        ("layer_types", ["full_attention", "full_attention", "sliding_attention"]),
        ("kv_sharing_modes", ["own", "own", "reuse"]),
        ("num_mtp_layers", 1),
        ("token_classification_bias", False),
    ],
)
def test_an_undeclared_field_that_changes_outputs_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConversionError, match=f"llama with {field}="):
        from_native(make_llama(**{field: value}))
    harmless = {"layer_types": ["full_attention"] * 3, "token_classification_bias": True, "num_mtp_layers": 0}
    assert from_native(make_llama(**{field: harmless.get(field)}))


def test_an_undeclared_head_size_is_refused_where_only_the_rotation_reads_it() -> None:
    with pytest.raises(ConversionError, match="olmoe with head_dim=24"):
        from_native(tiny_native("olmoe", Case({**CASES["olmoe"][0].fields, "head_dim": 24}), "base"))


def test_fields_that_nothing_reads_are_listed() -> None:
    config = CONFIG_MAPPING["llama"](**SIZES, output_past=True, is_causal=True, hidden_dropout=0.1, task="chat")
    assert unread_fields(config, ()) == ["output_past", "task"]


def without_direction(family: str, head: str) -> Any:
    return tiny_native(family, Case({**CASES[family][0].fields, "is_causal": False}), head)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.our_model_type != "tfm_encoder"])
def test_a_decoder_whose_attention_has_no_direction_is_an_encoder_or_refused(name: str) -> None:
    native = without_direction(name, "base")
    if FAMILIES[name].our_model_type == "tfm_seq2seq" or name in ALWAYS_CAUSAL:
        with pytest.raises(ConversionError, match=f"{name} with is_causal=False"):
            from_native(native)
        return
    # the outputs are compared below
    ours = from_native(native, verify=False)
    back = to_native(ours, verify=False)
    assert ours.config.model_type == "tfm_encoder"
    assert type(back) is type(native)
    assert getattr(back.config, "is_causal", None) is False or back.config.use_bidirectional_attention
    batch = padded_batch(native.config)
    with torch.no_grad():
        expected, found = (model(**batch).last_hidden_state[batch["attention_mask"] > 0] for model in (native, ours))
    assert ((expected - found).abs().max() / expected.abs().max()).item() <= 1e-5


def test_an_encoder_is_no_family_that_is_always_causal() -> None:
    with pytest.raises(ConversionError, match="bloom is always causal"):
        to_native(from_native(without_direction("llama", "base")), "bloom")


@pytest.mark.parametrize("head", ["causal-lm", "sequence-classification", "token-classification", "question-answering"])
def test_every_head_without_direction_goes_there_and_back(head: str) -> None:
    native = without_direction("qwen2", head)
    ours = from_native(native)  # compares the outputs
    assert type(ours).__name__.startswith("TfmEncoderFor")
    back = to_native(ours)
    assert type(back) is type(native)
    assert all(torch.equal(a, b) for a, b in zip(native.parameters(), back.parameters(), strict=True))


@pytest.mark.parametrize("head", ["base", "causal-lm"])
def test_the_field_of_embeddinggemma_gives_an_encoder_with_the_same_window(head: str, tmp_path: Path) -> None:
    fields = {"sliding_window": 6, "use_bidirectional_attention": True, "layer_types": ["sliding_attention"] * 3}
    native = tiny_native("gemma3_text", Case({**SIZES, **fields, "head_dim": 12}), head)
    native.save_pretrained(tmp_path / "native")
    ours = from_native(str(tmp_path / "native"))  # compares the outputs of 24 tokens
    assert type(ours).__name__ == {"base": "TfmEncoderModel", "causal-lm": "TfmEncoderForMaskedLM"}[head]
    assert ours.config.sliding_window == 3
    ours.save_pretrained(tmp_path / "ours")
    back = to_native(type(ours).from_pretrained(tmp_path / "ours"))
    assert type(back) is type(native)
    back.save_pretrained(tmp_path / "back")
    saved = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {name: saved[name] for name in fields} == fields
    batch = padded_batch(native.config)
    with torch.no_grad():
        outputs = [next(iter(model(**batch).values()))[batch["attention_mask"] > 0] for model in (native, ours, back)]
    assert all(((outputs[0] - found).abs().max() / outputs[0].abs().max()).item() <= 1e-5 for found in outputs[1:])
