"""Decoders from GPT-2 to OLMo-2 that are not Llama's kin in all but a field."""

from tests.conversion.tiny import VOCABULARY, Case

LM = ("causal-lm",)
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 72, "max_position_embeddings": 64,
}  # fmt: skip
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}
GROUPED = SIZES | {"num_key_value_heads": 2}
NEO = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "num_layers": 3, "num_heads": 4, "max_position_embeddings": 64,
    "attention_types": [[["global", "local"], 1], [["local"], 1]], "window_size": 5,
}  # fmt: skip
FALCON = {name: size for name, size in SIZES.items() if name != "intermediate_size"} | {"ffn_hidden_size": 72}
ALIBI = {"vocab_size": VOCABULARY, "hidden_size": 48, "n_layer": 3}
MPT = {"vocab_size": VOCABULARY, "d_model": 48, "n_layers": 3, "max_seq_len": 64}
OPT = {name: size for name, size in SIZES.items() if name != "intermediate_size"} | {"ffn_dim": 72}
XGLM = {
    "vocab_size": VOCABULARY, "d_model": 48, "num_layers": 3, "attention_heads": 4, "ffn_dim": 72,
    "max_position_embeddings": 64,
}  # fmt: skip
OPT_IDS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}
FAIRSEQ_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
QUARTER = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.34}
TIED, LOOSE = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
IGNORED = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.4}  # the part, by the native class
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}

CASES: dict[str, list[Case]] = {
    "gpt2": [
        Case(GPT2),
        Case(GPT2 | LOOSE | {"n_inner": 56, "scale_attn_weights": False}, heads=LM),
    ],
    # no SDPA in the classes of GPT-Neo, GPT-J, CodeGen, BLOOM, MPT and XGLM
    # the classes of GPT-Neo and GPT-J for question answering take no use_cache, and packed rows are seen without alone
    "gpt_neo": [
        Case(NEO | {"use_cache": False}, sdpa=False),
        Case(NEO | LOOSE | {"attention_types": [[["global"], 3]], "intermediate_size": 56}, heads=LM, sdpa=False),
    ],
    "gpt_bigcode": [
        Case(GPT2),
        Case(GPT2 | LOOSE | {"multi_query": False, "n_inner": 56, "scale_attn_weights": False}, heads=LM),
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
    # BLOOM and MPT take no position ids
    "bloom": [
        Case(ALIBI | {"n_head": 4}, positions=False, sdpa=False),
        # a number of heads that is no power of two has slopes of its own
        Case(ALIBI | LOOSE | {"n_head": 6}, heads=LM, positions=False, sdpa=False),
    ],
    "mpt": [
        Case(MPT | {"n_heads": 4}, positions=False, sdpa=False),
        Case(
            MPT | LOOSE | {"n_heads": 6, "attn_config": {"softmax_scale": 0.2}}, heads=LM, positions=False, sdpa=False,
        ),
    ],
    # the classes of Falcon, OPT, XGLM and BioGPT do not tell their masks of positions, so that packed rows run together
    "falcon": [
        Case(FALCON, packed=False),
        Case(FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}, heads=LM, packed=False),
        Case(
            FALCON | LOOSE | {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
            heads=LM, packed=False,
        ),
        Case(
            FALCON | {"parallel_attn": False, "multi_query": False, "bias": True, "rope_parameters": LINEAR},
            heads=LM, packed=False,
        ),
    ],
    "opt": [
        Case(OPT, packed=False, ids=OPT_IDS),
        Case(
            OPT | LOOSE | {"do_layer_norm_before": False, "enable_bias": False}, heads=LM, packed=False, ids=OPT_IDS,
        ),
    ],
    "xglm": [
        Case(XGLM, sdpa=False, packed=False, ids=FAIRSEQ_IDS),
        Case(XGLM | LOOSE | {"scale_embedding": False}, heads=LM, sdpa=False, packed=False, ids=FAIRSEQ_IDS),
    ],
    "biogpt": [
        Case(SIZES, packed=False, ids=FAIRSEQ_IDS),
        Case(SIZES | LOOSE | {"scale_embedding": False}, heads=LM, packed=False, ids=FAIRSEQ_IDS),
    ],
    "starcoder2": [
        Case(GROUPED | {"sliding_window": 5}),
        Case(SIZES | LOOSE | {"num_key_value_heads": 1, "head_dim": 10, "use_bias": False}, heads=LM),
    ],
    "phi": [
        Case(SIZES),
        Case(GROUPED | TIED | {"qk_layernorm": True, "rope_parameters": QUARTER | LINEAR}, heads=LM),
        Case(GROUPED | {"head_dim": 10, "rope_parameters": QUARTER | {"partial_rotary_factor": 1.0}}, heads=LM),
    ],
    "stablelm": [
        Case(GROUPED | {"rope_parameters": QUARTER}),
        Case(
            GROUPED | TIED | {
                "use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True, "rope_parameters": QUARTER,
            },
            heads=LM,
        ),
    ],
    "cohere": [
        Case(GROUPED),
        Case(
            GROUPED | LOOSE | {
                "head_dim": 10, "use_qk_norm": True, "attention_bias": True, "logit_scale": 0.3,
                "rope_parameters": LINEAR,
            },
            heads=LM,
        ),
    ],
    "olmo": [
        Case(GROUPED),
        Case(SIZES | TIED | {"attention_bias": True, "head_dim": 10}, heads=LM),
    ],
    "olmo2": [
        Case(GROUPED),
        Case(GROUPED | TIED | {"head_dim": 10, "attention_bias": True, "rope_parameters": IGNORED}, heads=LM),
    ],
}  # fmt: skip
