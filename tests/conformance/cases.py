"""The models that transformers' own tests run on: our three architectures in several recipes, and native families."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

import hf_tfm
from hf_tfm import TfmDecoderConfig, TfmEncoderConfig, TfmSeq2SeqConfig

BATCH, LENGTH, VOCABULARY = 5, 7, 99
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 40, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2}

RECIPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "alibi": {"position_type": "alibi"},
    "relative_bias": {"position_type": "relative_bias"},
    "learned_post": {
        "position_type": "learned", "residual_type": "post", "norm_type": "layer_norm", "mlp_type": "plain",
        "qkv_bias": True, "out_bias": True, "mlp_bias": True,
    },
    "sliding": {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    "sandwich_softcap": {
        "residual_type": "sandwich", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    },
    "parallel": {"residual_type": "parallel", "norm_type": "layer_norm"},
    "experts": {"mlp_type": "moe", "num_experts": 4, "moe_intermediate_size": 16},
}  # fmt: skip
# what a recipe does not support, as class attributes that transformers' test classes read
FLAGS: dict[str, dict[str, bool]] = {
    "alibi": {"_supports_flash_attn": False},
    "relative_bias": {"_supports_flash_attn": False},
    "sandwich_softcap": {"_supports_sdpa": False},
}


@dataclass(frozen=True, eq=False)
class Case:
    """One model family in one configuration. `prefix`: of its class names; `without`: roles that are not tested."""

    architecture: str
    name: str
    config: Callable[[], PreTrainedConfig]
    package: Any
    prefix: str
    flags: dict[str, bool] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.architecture.title()}_{self.name}"

    @property
    def classes(self) -> dict[str, type[PreTrainedModel]]:
        """Role -> class, for the roles that the family has a class for."""
        named = {role: self.prefix + ending for role, ending in ROLES[self.architecture].items()}
        return {
            role: getattr(self.package, name)
            for role, name in named.items()
            if hasattr(self.package, name) and role not in self.without
        }

    @property
    def pipelines(self) -> dict[str, type[PreTrainedModel]]:
        """Pipeline task -> class."""
        return {task: self.classes[role] for task, role in PIPELINES.items() if role in self.classes}

    def inputs(self) -> dict[str, torch.Tensor]:
        """A batch as transformers' model testers make it, without padding."""
        ids = torch.randint(3, VOCABULARY, (BATCH, LENGTH))
        mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
        if self.architecture != "seq2seq":
            return {"input_ids": ids, "attention_mask": mask}
        targets = torch.randint(3, VOCABULARY, (BATCH, LENGTH))
        ids[:, -1] = targets[:, -1] = 2  # heads that pool the last end-of-text token need one in every row
        return {
            "input_ids": ids, "attention_mask": mask, "decoder_input_ids": targets, "decoder_attention_mask": mask,
        }  # fmt: skip


# role in transformers' model testers -> ending of the class name, for the heads that an architecture has
TASK_ROLES = {
    "sequence_classification_class": "ForSequenceClassification",
    "token_classification_class": "ForTokenClassification",
    "question_answering_class": "ForQuestionAnswering",
}
ROLES = {
    "encoder": {
        "base_model_class": "Model",
        "masked_lm_class": "ForMaskedLM",
        "multiple_choice_class": "ForMultipleChoice",
        **TASK_ROLES,
    },
    "decoder": {"base_model_class": "Model", "causal_lm_class": "ForCausalLM", **TASK_ROLES},
    "seq2seq": {
        "base_model_class": "Model", "conditional_generation_class": "ForConditionalGeneration", **TASK_ROLES
    },
}  # fmt: skip
PIPELINES = {
    "feature-extraction": "base_model_class",
    "fill-mask": "masked_lm_class",
    "text-classification": "sequence_classification_class",
    "text-generation": "causal_lm_class",
    "token-classification": "token_classification_class",
    "zero-shot": "sequence_classification_class",
}


def our_case(architecture: str, recipe: str) -> Case:
    fields = {**SIZES, **GROUPED, **RECIPES[recipe]}
    config_class = OUR_CONFIGS[architecture]
    prefix = config_class.__name__.removesuffix("Config")
    return Case(architecture, recipe, lambda: config_class(**fields), hf_tfm, prefix, FLAGS.get(recipe, {}))


def native_case(architecture: str, family: str, fields: dict[str, Any], *without: str) -> Case:
    config_class = getattr(transformers, f"{family}Config")
    return Case(architecture, family, lambda: config_class(**fields), transformers, family, without=without)


OUR_CONFIGS = {"encoder": TfmEncoderConfig, "decoder": TfmDecoderConfig, "seq2seq": TfmSeq2SeqConfig}
OUR_CASES = [our_case(architecture, recipe) for architecture in OUR_CONFIGS for recipe in RECIPES]

LAYERS = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
BART_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, **LAYERS, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40,
    "max_position_embeddings": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 4,
    "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0,
}  # fmt: skip
# families of transformers whose results stand beside ours in the table of CONTRIBUTING.md
NATIVE_CASES = [
    native_case("encoder", "Bert", SIZES),
    native_case("encoder", "ModernBert", SIZES),
    native_case("decoder", "Llama", {**SIZES, **GROUPED}),
    native_case("decoder", "Mixtral", {**SIZES, **GROUPED, "head_dim": 8, "num_local_experts": 4}),
    native_case("seq2seq", "Bart", BART_SIZES),
    # its classifier needs the same number of end-of-text tokens in every row, which the common tests do not give it
    native_case("seq2seq", "T5", T5_SIZES, "sequence_classification_class", "token_classification_class"),
]
