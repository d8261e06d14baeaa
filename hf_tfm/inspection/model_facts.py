"""What a reader wants to know of a model before anything else: its architecture and choices, as text."""

from typing import Any

__all__ = ["architecture_of", "facts_of"]

ARCHITECTURES = {"tfm_encoder": "encoder", "tfm_decoder": "decoder", "tfm_seq2seq": "encoder-decoder"}
FIELDS = (
    "num_hidden_layers", "residual_type", "decoder_layers", "hidden_size", "decoder_hidden_size",
    "num_attention_heads", "num_key_value_heads", "head_dim", "mlp_type", "intermediate_size", "hidden_act",
    "num_experts", "num_experts_per_tok", "norm_type", "position_type", "max_position_embeddings", "sliding_window",
    "attn_logit_softcapping", "final_logit_softcapping", "attention_sinks", "vocab_size", "origin",
)  # fmt: skip


def architecture_of(model: Any) -> str:
    return ARCHITECTURES[model.config.model_type]


def facts_of(model: Any) -> dict[str, str]:
    """Number of parameters, and the fields of the configuration that say something about this model."""
    config = model.config
    facts = {"parameters": f"{sum(p.numel() for p in model.parameters()):,}"}
    for field in FIELDS:
        value = getattr(config, field, None)
        if value not in (None, False):
            facts[field] = f"{value:,}" if type(value) is int else "yes" if value is True else str(value)
    return facts
