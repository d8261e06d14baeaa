"""Llama and the decoders after it."""

from tests.conversion.tiny import VOCABULARY, Case

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 72, "max_position_embeddings": 64,
}  # fmt: skip
ODD = {"num_key_value_heads": 1, "head_dim": 10}
TIED = {"tie_word_embeddings": True}
LM = ("causal-lm",)

FULL, SLIDING = "full_attention", "sliding_attention"
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16, "rope_theta": 100.0,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1000.0}
LONGROPE = {
    "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
}  # fmt: skip
PROPORTIONAL = {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1000.0}
# natively such a factor is read by proportional rotary alone
UNREAD = {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 1000.0}
MULTIPLIERS = {
    "embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 4.0,
}  # fmt: skip

CASES: dict[str, list[Case]] = {
    "llama": [
        Case(SIZES),
        Case(SIZES | ODD | TIED | {"attention_bias": True, "mlp_bias": True}, heads=LM),
        *(
            Case(SIZES | {"rope_parameters": rope}, heads=LM)
            for rope in (LINEAR, LLAMA3, YARN, DYNAMIC, LONGROPE, PROPORTIONAL, UNREAD)
        ),
    ],
    "mistral": [
        Case(SIZES | {"sliding_window": 5}),
        Case(SIZES | ODD | TIED | {"sliding_window": None, "rope_parameters": YARN}, heads=LM),
    ],
    "ministral": [
        Case(SIZES | {"head_dim": 12, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING]}),
        Case(SIZES | ODD | TIED | {"sliding_window": 5}, heads=LM),
        Case(SIZES | ODD | {"layer_types": [FULL] * 3}, heads=LM),
    ],
    "seed_oss": [
        Case(SIZES | {"head_dim": 10}),
        Case(
            SIZES | ODD | TIED | {"attention_bias": False, "attention_out_bias": True, "mlp_bias": True}, heads=LM
        ),
    ],
    "arcee": [
        Case(SIZES),
        Case(SIZES | ODD | TIED | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}, heads=LM),
    ],
    "nemotron": [
        Case(SIZES),
        Case(
            SIZES | ODD | TIED | {
                "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu",
                "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0},
            },
            heads=LM,
        ),
    ],
    "granite": [
        Case(SIZES | {"attention_multiplier": 0.1}),
        Case(
            SIZES | ODD | TIED | MULTIPLIERS | {"attention_bias": True, "mlp_bias": True}, heads=LM,
        ),
    ],
    "smollm3": [
        Case(SIZES | {"num_hidden_layers": 4}),
        Case(
            SIZES | ODD | {
                "attention_bias": True, "mlp_bias": True, "no_rope_layers": [1, 0, 1], "use_sliding_window": True,
                "sliding_window": 5, "tie_word_embeddings": False,
            },
            heads=LM,
        ),
        Case(
            SIZES | {
                "no_rope_layers": [1, 1, 1], "layer_types": [SLIDING, SLIDING, FULL], "sliding_window": 5,
                "rope_parameters": YARN,
            },
            heads=LM,
        ),
    ],
    "qwen2": [
        Case(SIZES),
        Case(
            SIZES | TIED | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2, "head_dim": 10},
            heads=LM,
        ),
        Case(
            SIZES | {
                "use_sliding_window": True, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "rope_parameters": YARN,
            },
            heads=LM,
        ),
    ],
    "qwen3": [
        Case(SIZES | {"head_dim": 10}),
        Case(
            SIZES | ODD | TIED | {
                "attention_bias": True, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
            },
            heads=LM,
        ),
    ],
    "glm": [
        Case(SIZES | {"head_dim": 12}),
        Case(
            SIZES | TIED | {
                "head_dim": 10, "attention_bias": False, "rope_parameters": LINEAR | {"partial_rotary_factor": 0.4},
            },
            heads=LM,
        ),
    ],
    "glm4": [
        Case(SIZES | {"head_dim": 12}),
        Case(
            SIZES | ODD | TIED | {
                "attention_bias": False,
                "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0},
            },
            heads=LM,
        ),
    ],
    "helium": [
        Case(SIZES | {"head_dim": 12}),
        Case(
            SIZES | TIED | {
                "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 6, "attention_bias": True,
                "mlp_bias": True, "rope_parameters": YARN,
            },
            heads=LM,
        ),
        Case(SIZES | {"head_dim": 12, "rope_parameters": UNREAD}, heads=LM),
    ],
    "ernie4_5": [
        Case(SIZES | {"head_dim": 12}),
        Case(SIZES | ODD | {"use_bias": True, "tie_word_embeddings": False}, heads=LM),
        Case(SIZES | {"head_dim": 12, "rope_parameters": PROPORTIONAL}, heads=LM),
    ],
    "gemma": [
        Case(SIZES | {"head_dim": 10}),
        Case(
            SIZES | ODD | {"attention_bias": True, "hidden_act": "silu", "tie_word_embeddings": False}, heads=LM,
        ),
    ],
    # natively soft-capped scores are not for sdpa
    "gemma2": [
        Case(SIZES | {"head_dim": 10, "sliding_window": 5}, sdpa=False),
        Case(
            SIZES | ODD | {
                "attention_bias": True, "hidden_activation": "silu", "tie_word_embeddings": False, "sliding_window": 5,
                "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
                "layer_types": [FULL, SLIDING, SLIDING],
            },
            heads=LM, sdpa=False,
        ),
        Case(
            SIZES | {
                "head_dim": 12, "attn_logit_softcapping": None, "final_logit_softcapping": None,
                "query_pre_attn_scalar": 12, "layer_types": [FULL] * 3,
            },
            heads=LM, sdpa=False,
        ),
    ],
    "vaultgemma": [
        Case(SIZES | {"head_dim": 10, "sliding_window": 5}, sdpa=False),
        Case(
            SIZES | ODD | {
                "attention_bias": True, "tie_word_embeddings": False, "query_pre_attn_scalar": 20,
                "attn_logit_softcapping": 2.0, "final_logit_softcapping": None, "layer_types": [FULL] * 3,
            },
            heads=LM, sdpa=False,
        ),
    ],
    "gemma3_text": [
        Case(SIZES | {"head_dim": 10, "sliding_window": 5}),
        Case(
            SIZES | ODD | {
                "attention_bias": True, "tie_word_embeddings": False, "sliding_window": 5, "num_hidden_layers": 4,
                "query_pre_attn_scalar": 20, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0,
                "layer_types": [SLIDING, SLIDING, FULL, SLIDING],
                "rope_parameters": {FULL: LINEAR, SLIDING: {"rope_type": "default", "rope_theta": 100.0}},
            },
            heads=LM,
        ),
        Case(
            SIZES | {
                "head_dim": 12, "sliding_window": 5, "layer_types": [FULL, FULL, SLIDING],
                # natively read outside of these dictionaries, where it is not
                "rope_parameters": {FULL: YARN | {"truncate": False}, SLIDING: UNREAD},
            },
            heads=LM,
        ),
    ],
    "olmo3": [
        Case(SIZES | {"num_hidden_layers": 4, "sliding_window": 5}),
        Case(
            SIZES | ODD | TIED | {
                "attention_bias": True, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "rope_parameters": {FULL: YARN, SLIDING: {"rope_type": "default", "rope_theta": 100.0}},
            },
            heads=LM,
        ),
    ],
    "exaone4": [
        Case(SIZES | {"num_hidden_layers": 4, "sliding_window": 5}),
        Case(
            SIZES | ODD | TIED | {"sliding_window": None, "layer_types": [FULL] * 3, "rope_parameters": LLAMA3},
            heads=LM,
        ),
        Case(SIZES | {"sliding_window": 5, "layer_types": [FULL] * 3}, heads=LM),
        Case(SIZES | {"sliding_window": 5, "layer_types": [SLIDING] * 3}, heads=LM),
    ],
    "phi3": [
        Case(SIZES),
        Case(
            SIZES | ODD | TIED | {
                "sliding_window": 5,
                "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.4},
            },
            heads=LM,
        ),
        # short factors, and long ones: natively the cache is dropped where generation goes from one to the other
        *(
            Case(
                SIZES | {
                    "original_max_position_embeddings": length,
                    "rope_parameters": LONGROPE | {
                        "partial_rotary_factor": 0.5, "short_factor": [1.0, 1.1, 1.2], "long_factor": [2.0, 3.0, 4.0],
                    },
                },
                heads=LM,
            )
            for length in (32, 8)
        ),
    ],
    "cwm": [
        Case(SIZES | {"head_dim": 12, "sliding_window": 5, "num_hidden_layers": 5}),
        Case(SIZES | ODD | TIED | {"mlp_bias": True, "layer_types": [FULL] * 3, "rope_parameters": LINEAR}, heads=LM),
    ],
    "jais2": [
        Case(SIZES),
        Case(SIZES | ODD | TIED | {"attention_bias": False, "mlp_bias": False, "hidden_act": "gelu"}, heads=LM),
    ],
    "iquestcoder": [Case(SIZES | {"head_dim": 10})],
    "internlm3": [Case(SIZES | {"head_dim": 12, "attention_bias": True, "mlp_bias": True, "rope_parameters": DYNAMIC})],
    "hyperclovax": [
        Case(SIZES),
        Case(
            SIZES | ODD | TIED | MULTIPLIERS | {"attention_bias": True, "mlp_bias": True, "use_post_norm": False},
            heads=LM,
        ),
    ],
    # natively there is no sdpa with sinks
    "granite_swa": [
        Case(SIZES | {"num_hidden_layers": 5, "sliding_window": 5, "attention_multiplier": 0.1}, sdpa=False),
        Case(
            SIZES | ODD | MULTIPLIERS | {
                "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "sliding_window": 5,
                "layer_types": [SLIDING, FULL, SLIDING], "layer_rope_theta": [500.0, 0, 500.0],
            },
            heads=LM, sdpa=False,
        ),
    ],
    "cohere2": [
        Case(SIZES | {"num_hidden_layers": 5, "sliding_window": 5}),
        Case(
            SIZES | {
                "num_key_value_heads": 1, "attention_bias": True, "tie_word_embeddings": False, "logit_scale": 0.3,
                "sliding_window": 5, "layer_types": [SLIDING] * 3, "rope_parameters": YARN,
            },
            heads=LM,
        ),
        Case(SIZES | {"layer_types": [FULL] * 3}, heads=LM),
    ],
}  # fmt: skip
