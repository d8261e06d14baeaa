"""Which fields go together: turns independently drawn fields into a configuration that ought to be accepted."""

from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from typing import Any

from hf_tfm.modeling.config_checks import LAYER_TYPES
from tests.grid import LANGUAGE_MODELS

Fields = dict[str, Any]


def make_compatible(architecture: str, given: Fields) -> Fields:
    """`given` without the fields that have no meaning beside the others, and with sizes that divide."""
    config_class = LANGUAGE_MODELS[architecture][0]
    defaults = {
        item.name: item.default if item.default is not MISSING else item.default_factory()
        for item in dataclass_fields(config_class)
    }
    fields = dict(given)

    def value(name: str) -> Any:
        return fields.get(name, defaults[name])

    conditions = [item.metadata.get("only_with", {}) for item in dataclass_fields(config_class)]
    drop_absent(fields, config_class, {choice: value(choice) for condition in conditions for choice in condition})
    if value("width_scaling") != "none":
        drop(fields, "embedding_size", "decoder_hidden_size")
    fit_heads(fields, value, "")
    if architecture == "seq2seq":
        fit_decoder(fields, value)
    fit_positions(fields, value)
    fit_layers(fields, value)
    fit_experts(fields, value)
    if value("query_temperature") is None:
        drop(fields, "query_temperature_length")
    if value("depth_scaling") == "deepnorm":
        fields["residual_type"] = "post"
        fields.pop("residual_scale", None)
    ids = [name for name in fields if name.endswith("token_id")]
    vocab_size = min(value(name) or 10**9 for name in ("vocab_size", "decoder_vocab_size") if name in defaults)
    for name in ids:
        if isinstance(fields[name], int) and fields[name] >= vocab_size:
            fields.pop(name)
    if {"id2label", "label2id"} <= set(fields):
        fields.pop("label2id")
    return fields


def drop_absent(fields: Fields, config_class: Any, choices: Fields) -> None:
    """Without the fields that no configuration with these choices has."""
    config = object.__new__(config_class)
    vars(config).update(choices)
    drop(fields, *[name for name in fields if config.absence(name)])


def drop(fields: Fields, *names: str) -> None:
    for name in names:
        fields.pop(name, None)


def fit_heads(fields: Fields, value: Any, prefix: str) -> None:
    """Heads divide the width, key-value heads the heads, and heads have an even size that rotary positions can cut in
    halves twice."""
    heads = value("decoder_attention_heads") if prefix else value("num_attention_heads")
    heads = heads or value("num_attention_heads")
    width = value(f"{prefix}hidden_size") or value("hidden_size")
    size = value(f"{prefix}head_dim") or (width // heads if width % heads == 0 else None)
    if size is None or size % 4:
        fields[f"{prefix}head_dim"] = 8 if size is None else 4 * -(-size // 4)
    groups = value(f"{prefix}num_key_value_heads") or value("num_key_value_heads")
    if groups and heads % groups:
        fields[f"{prefix}num_key_value_heads"] = 1


def fit_decoder(fields: Fields, value: Any) -> None:
    drop(fields, "rope_layers", "moe_layers")
    fit_heads(fields, value, "decoder_")
    width = value("decoder_hidden_size") or value("hidden_size")
    vocab_size = value("decoder_vocab_size") or value("vocab_size")
    if width != value("hidden_size"):
        drop(fields, "embedding_size")
    if width != value("hidden_size") or vocab_size != value("vocab_size"):
        fields["tie_encoder_decoder_embeddings"] = False
    kinds = fields.get("layer_types")
    if kinds and len(set(kinds)) > 1 and not fields.get("decoder_layer_types"):
        fields["decoder_layer_types"] = kinds


def fit_positions(fields: Fields, value: Any) -> None:
    kind = value("position_type")
    # the decoder's heads have to have the encoder's size where factors are given for each frequency
    if fields.get("rope_parameters"):
        if "decoder_head_dim" in fields or value("num_attention_heads") != fields.get("decoder_attention_heads"):
            fields["head_dim"] = 8
            if "decoder_hidden_size" in fields or "decoder_head_dim" in fields or "decoder_attention_heads" in fields:
                fields["decoder_head_dim"] = 8
        fields["rope_parameters"] = {
            key: fit_rope(part, value) if isinstance(part, dict) else part
            for key, part in fit_rope(fields["rope_parameters"], value).items()
        }
    if kind == "relative_bias":
        buckets = value("relative_attention_num_buckets")
        fields["relative_attention_max_distance"] = max(value("relative_attention_max_distance"), 2 * buckets)


def fit_rope(parameters: dict[str, Any], value: Any) -> dict[str, Any]:
    """Factors as long as there are frequencies; dynamic scaling needs more than one."""
    size = value("head_dim") or value("hidden_size") // value("num_attention_heads")
    if parameters.get("rope_type") == "dynamic" and size * parameters.get("partial_rotary_factor", 1.0) <= 2:
        parameters = {**parameters, "partial_rotary_factor": 1.0}
    pairs = int(size * parameters.get("partial_rotary_factor", 1.0)) // 2
    return {
        name: [entry[i % len(entry)] for i in range(pairs)] if name in ("short_factor", "long_factor") else entry
        for name, entry in parameters.items()
    }


def fit_layers(fields: Fields, value: Any) -> None:
    """Lists have an entry for each layer; sliding layers have a window."""
    depth = {"decoder_layer_types": value("decoder_layers") if "decoder_layer_types" in fields else None}
    for name in ("layer_types", "rope_layers", "moe_layers", "decoder_layer_types"):
        if fields.get(name):
            layers = depth.get(name) or value("num_hidden_layers")
            fields[name] = [fields[name][i % len(fields[name])] for i in range(layers)]
    kinds = [*(fields.get("layer_types") or ()), *(fields.get("decoder_layer_types") or ())]
    if LAYER_TYPES[1] in kinds and value("sliding_window") is None:
        fields["sliding_window"] = 4


def fit_experts(fields: Fields, value: Any) -> None:
    if value("mlp_type") != "moe":
        return
    drop(fields, "mlp_bias", "activation_dropout")
    fields["num_experts_per_tok"] = min(value("num_experts_per_tok"), value("num_experts"))
