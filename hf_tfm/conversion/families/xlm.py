"""XLM and FlauBERT without embeddings of languages: BERT with other names, and a language head without a transform."""

import dataclasses
from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names
from ..weight_map import rule
from .bert import CLASSIFIER, QA_HEAD
from .opt import dropout_mapping

__all__ = ["FAMILIES"]


def check_languages(native: Any) -> None:
    if native.use_lang_emb and native.n_langs > 1:
        raise ConversionError(
            f"{native.model_type} with use_lang_emb=True and n_langs={native.n_langs} is not supported: our encoder "
            "has no embeddings of languages; use_lang_emb=False is."
        )


XLM = Family(
    name="xlm",
    our_model_type="tfm_encoder",
    recipe="bert",
    base_weights=(
        rule("embeddings", "embed_tokens"),
        rule("position_embeddings", "position.embedding"),
        rule("layer_norm_emb", "embed_norm"),
        *(rule(f"attentions.{{}}.{x}_lin", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
        rule("attentions.{}.out_lin", "layers.{}.self_attn.o_proj"),
        rule("layer_norm1.{}", "layers.{}.self_attn_residual.post_norm"),
        rule("ffns.{}.lin1", "layers.{}.mlp.up_proj"),
        rule("ffns.{}.lin2", "layers.{}.mlp.down_proj"),
        rule("layer_norm2.{}", "layers.{}.mlp_residual.post_norm"),
    ),
    head_weights={
        "base": (),
        "masked-lm": (rule("pred_layer.proj", "lm_head"),),
        "sequence-classification": (rule("sequence_summary.summary", "classifier"),),
        "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
    },
    fixed_fields={
        "add_pooling_layer": False, "type_vocab_size": 0, "lm_head_type": "linear", "classifier_dense": "none",
    },
    field_map={
        **same_names("vocab_size", "max_position_embeddings", "attention_dropout", "tie_word_embeddings"),
        "emb_dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
        "layer_norm_eps": "norm_eps", "init_std": "initializer_range", "summary_first_dropout": "classifier_dropout",
    },
    config_mappings=(
        dropout_mapping("dropout"),
        ConfigMapping(lambda native: {"intermediate_size": 4 * native.emb_dim}),
        ConfigMapping(
            lambda native: {"hidden_act": "gelu" if native.gelu_activation else "relu"},
            lambda ours: {"gelu_activation": ours.hidden_act == "gelu"},
            ("gelu_activation",),
        ),
        ConfigMapping(
            check=check_languages,
            to_native=lambda ours: {"use_lang_emb": False},
            native_fields=("use_lang_emb", "n_langs"),
        ),
    ),
    required_values={
        "causal": False, "is_encoder": True, "asm": False, "summary_type": "first", "summary_use_proj": True,
        "summary_proj_to_labels": True, "summary_activation": None,
    },
    ignored_fields={
        **dict.fromkeys(("sinusoidal_embeddings", "embed_init_std"), "changes only initial weights"),
        **dict.fromkeys(("asm_cutoffs", "asm_div_value"), "only for asm=True"),
        **dict.fromkeys(("mask_token_id", "lang_id"), "only for generation"),
        **dict.fromkeys(("unk_index", "mask_index"), "only for the tokenizer"),
        **dict.fromkeys(("start_n_top", "end_n_top"), "only for question answering with beam search"),
    },
)  # fmt: skip

# with pre_norm=True the native class fails
FLAUBERT = dataclasses.replace(
    XLM,
    name="flaubert",
    required_values={**XLM.required_values, "pre_norm": False},
    config_mappings=(
        *XLM.config_mappings,
        # other names of pad_token_id, bos_token_id and eos_token_id, whose defaults overwrite these
        ConfigMapping(
            to_native=lambda ours: {
                f"{name}_index": getattr(ours, f"{name}_token_id") for name in ("pad", "bos", "eos")
            },
            native_fields=("pad_index", "bos_index", "eos_index"),
        ),
    ),
    ignored_fields={**XLM.ignored_fields, "layerdrop": "drops layers only in training"},
)

FAMILIES = (XLM, FLAUBERT)
