"""Decoders that differ from Llama in more than a few fields."""

from tests.conversion.tiny import GQA_SIZES, SIZES, VOCAB_SIZE, Case

LM = ("causal-lm",)
GPT2 = {"vocab_size": VOCAB_SIZE, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}
NEO = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 48, "num_layers": 3, "num_heads": 4, "max_position_embeddings": 64,
    "attention_types": [[["global", "local"], 1], [["local"], 1]], "window_size": 5,
}  # fmt: skip
NEOX_JAPANESE = {name: size for name, size in SIZES.items() if name != "intermediate_size"} | {
    "intermediate_multiple_size": 2,
}  # fmt: skip
FALCON = {name: size for name, size in SIZES.items() if name != "intermediate_size"} | {"ffn_hidden_size": 72}
ALIBI = {"vocab_size": VOCAB_SIZE, "hidden_size": 48, "n_layer": 3}
MPT = {"vocab_size": VOCAB_SIZE, "d_model": 48, "n_layers": 3, "max_seq_len": 64}
OPT = {name: size for name, size in SIZES.items() if name != "intermediate_size"} | {"ffn_dim": 72}
XGLM = {
    "vocab_size": VOCAB_SIZE, "d_model": 48, "num_layers": 3, "attention_heads": 4, "ffn_dim": 72,
    "max_position_embeddings": 64,
}  # fmt: skip
OPT_IDS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}
FAIRSEQ_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
QUARTER = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.34}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
# the native class does not read the factor
UNREAD_FACTOR = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.4}
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}

BY_LAYER_TYPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 500.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
MODERNBERT = SIZES | {"num_hidden_layers": 4, "local_attention": 10, "cls_token_id": 1, "sep_token_id": 2}

CASES: dict[str, list[Case]] = {
    # The native GPT has no cache, and does not separate packed rows, as CTRL does not.
    "openai-gpt": [
        Case(GPT2, sdpa=False, packed=False, use_cache=False),
        Case(GPT2 | UNTIED | {"afn": "silu"}, heads=LM, sdpa=False, packed=False, use_cache=False),
    ],
    "ctrl": [
        Case(GPT2 | {"dff": 72}),
        Case(GPT2 | UNTIED | {"dff": 56}, heads=LM),
    ],
    "gpt2": [
        Case(GPT2),
        Case(GPT2 | UNTIED | {"n_inner": 56, "scale_attn_weights": False}, heads=LM),
    ],
    # The native GPT-Neo, GPT-J, CodeGen, BLOOM, MPT and XGLM have no SDPA.
    # GPT-Neo and GPT-J for question answering take no use_cache argument; they separate packed rows only without cache.
    "gpt_neo": [
        Case(NEO | {"use_cache": False}, sdpa=False),
        Case(NEO | UNTIED | {"attention_types": [[["global"], 3]], "intermediate_size": 56}, heads=LM, sdpa=False),
    ],
    "gpt_bigcode": [
        Case(GPT2),
        Case(GPT2 | UNTIED | {"multi_query": False, "n_inner": 56, "scale_attn_weights": False}, heads=LM),
    ],
    "gptj": [
        Case(GPT2 | {"rotary_dim": 8, "use_cache": False}, sdpa=False),
        Case(GPT2 | TIED | {"rotary_dim": 12, "n_inner": 56}, heads=LM, sdpa=False),
    ],
    "codegen": [
        Case(GPT2 | {"rotary_dim": 8}, sdpa=False),
        Case(GPT2 | TIED | {"rotary_dim": 6, "n_head": 8, "n_inner": 56}, heads=LM, sdpa=False),
    ],
    "gpt_neox": [
        Case(SIZES | {"rope_parameters": QUARTER}),
        Case(
            SIZES | TIED | {
                "use_parallel_residual": False, "attention_bias": False, "rope_parameters": QUARTER | LINEAR,
            },
            heads=LM,
        ),
    ],
    "gpt_neox_japanese": [
        Case(NEOX_JAPANESE, sdpa=False),
        Case(
            NEOX_JAPANESE | UNTIED | {"hidden_act": "relu", "rope_parameters": QUARTER | LINEAR}, heads=LM, sdpa=False,
        ),
    ],
    "persimmon": [
        Case(SIZES),
        Case(SIZES | TIED | {"qk_layernorm": False, "rope_parameters": QUARTER | LINEAR}, heads=LM),
    ],
    "modernbert-decoder": [
        Case(MODERNBERT),
        Case(
            MODERNBERT | UNTIED | {
                "norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True,
                "decoder_bias": False, "classifier_activation": "relu", "hidden_activation": "silu",
                "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
                "local_attention": 7, "rope_parameters": BY_LAYER_TYPE,
            },
            heads=("causal-lm", "sequence-classification"),
        ),
        Case(MODERNBERT | {"layer_types": ["full_attention"] * 4, "local_attention": None}, heads=LM),
    ],
    # BLOOM and MPT take no position_ids
    "bloom": [
        Case(ALIBI | {"n_head": 4}, position_ids=False, sdpa=False),
        # a number of heads that is not a power of two has other slopes
        Case(ALIBI | UNTIED | {"n_head": 6}, heads=LM, position_ids=False, sdpa=False),
    ],
    "mpt": [
        Case(MPT | {"n_heads": 4}, position_ids=False, sdpa=False),
        Case(
            MPT | UNTIED | {"n_heads": 6, "attn_config": {"softmax_scale": 0.2}}, heads=LM, position_ids=False,
            sdpa=False,
        ),
    ],
    # The native Falcon, OPT, XGLM and BioGPT ignore position_ids in their masks, so they do not separate packed rows.
    "falcon": [
        Case(FALCON, packed=False),
        Case(FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}, heads=LM, packed=False),
        Case(
            FALCON | UNTIED | {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
            heads=LM, packed=False,
        ),
        Case(
            FALCON | {"parallel_attn": False, "multi_query": False, "bias": True, "rope_parameters": LINEAR},
            heads=LM, packed=False,
        ),
    ],
    "opt": [
        Case(OPT, packed=False, token_ids=OPT_IDS),
        Case(
            OPT | UNTIED | {"do_layer_norm_before": False, "enable_bias": False}, heads=LM, packed=False,
            token_ids=OPT_IDS,
        ),
    ],
    "xglm": [
        Case(XGLM, sdpa=False, packed=False, token_ids=FAIRSEQ_IDS),
        Case(XGLM | UNTIED | {"scale_embedding": False}, heads=LM, sdpa=False, packed=False, token_ids=FAIRSEQ_IDS),
    ],
    "biogpt": [
        Case(SIZES, packed=False, token_ids=FAIRSEQ_IDS),
        Case(SIZES | UNTIED | {"scale_embedding": False}, heads=LM, packed=False, token_ids=FAIRSEQ_IDS),
    ],
    "starcoder2": [
        Case(GQA_SIZES | {"sliding_window": 5}),
        Case(SIZES | UNTIED | {"num_key_value_heads": 1, "head_dim": 10, "use_bias": False}, heads=LM),
    ],
    "phi": [
        Case(SIZES),
        Case(GQA_SIZES | TIED | {"qk_layernorm": True, "rope_parameters": QUARTER | LINEAR}, heads=LM),
        Case(GQA_SIZES | {"head_dim": 10, "rope_parameters": QUARTER | {"partial_rotary_factor": 1.0}}, heads=LM),
    ],
    "stablelm": [
        Case(GQA_SIZES | {"rope_parameters": QUARTER}),
        Case(
            GQA_SIZES | TIED | {
                "use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True, "rope_parameters": QUARTER,
            },
            heads=LM,
        ),
    ],
    "cohere": [
        Case(GQA_SIZES),
        Case(
            GQA_SIZES | UNTIED | {
                "head_dim": 10, "use_qk_norm": True, "attention_bias": True, "logit_scale": 0.3,
                "rope_parameters": LINEAR,
            },
            heads=LM,
        ),
    ],
    "cohere_compass_text": [
        Case(GQA_SIZES | {"sliding_window": 5, "rope_parameters": BY_LAYER_TYPE}),
        Case(
            SIZES | UNTIED | {
                "attention_bias": True, "logit_scale": 0.3, "sliding_window": 4, "pooling": "mean",
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                "rope_parameters": {"sliding_attention": BY_LAYER_TYPE["sliding_attention"], "full_attention": None},
            },
            heads=("causal-lm", "sequence-classification"),
        ),
    ],
    "olmo": [
        Case(GQA_SIZES),
        Case(SIZES | TIED | {"attention_bias": True, "head_dim": 10}, heads=LM),
    ],
    "olmo2": [
        Case(GQA_SIZES),
        Case(GQA_SIZES | TIED | {"head_dim": 10, "attention_bias": True, "rope_parameters": UNREAD_FACTOR}, heads=LM),
    ],
}  # fmt: skip
