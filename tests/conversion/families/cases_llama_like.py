"""Decoders that are like Llama."""

from tests.conversion.tiny import GQA_SIZES, Case

MQA = {"num_key_value_heads": 1, "head_dim": 10}
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
# most native classes read this factor only with proportional rotary positions
UNREAD_FACTOR = {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 1000.0}
TEMPERATURE = {
    "rope_theta": 10000.0, "original_max_position_embeddings": 4, "max_position_embeddings": 64,
    "llama_4_scaling_beta": 0.3,
}  # fmt: skip
MULTIPLIERS = {
    "embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 4.0,
}  # fmt: skip
DENSE = {
    "layer_types": [FULL] * 3, "num_local_experts": 0, "shared_intermediate_size": 72, "mamba_n_heads": 8,
}  # fmt: skip

CASES: dict[str, list[Case]] = {
    "llama": [
        Case(GQA_SIZES),
        Case(GQA_SIZES | MQA | TIED | {"attention_bias": True, "mlp_bias": True}, heads=LM),
        *(
            # Llama keeps keys of the short frequencies in its cache where the long ones begin, which Phi-3 does not
            Case(GQA_SIZES | {"rope_parameters": rope}, heads=LM, use_cache=rope is not LONGROPE)
            for rope in (LINEAR, LLAMA3, YARN, DYNAMIC, LONGROPE, PROPORTIONAL, UNREAD_FACTOR)
        ),
    ],
    "mistral": [
        Case(GQA_SIZES | {"sliding_window": 5}),
        Case(GQA_SIZES | MQA | TIED | {"sliding_window": None, "rope_parameters": YARN}, heads=LM),
    ],
    "ministral": [
        Case(GQA_SIZES | {"head_dim": 12, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING]}),
        Case(GQA_SIZES | MQA | TIED | {"sliding_window": 5}, heads=LM),
        Case(GQA_SIZES | MQA | {"layer_types": [FULL] * 3}, heads=LM),
    ],
    "ministral3": [
        Case(GQA_SIZES | {"head_dim": 12, "rope_parameters": YARN | TEMPERATURE}),
        Case(GQA_SIZES | MQA | TIED | {"sliding_window": 5, "rope_parameters": TEMPERATURE}, heads=LM),
        Case(GQA_SIZES | MQA | {"rope_parameters": YARN | {"llama_4_scaling_beta": 0.0}}, heads=LM),
    ],
    "seed_oss": [
        Case(GQA_SIZES | {"head_dim": 10}),
        Case(
            GQA_SIZES | MQA | TIED | {"attention_bias": False, "attention_out_bias": True, "mlp_bias": True}, heads=LM
        ),
    ],
    "arcee": [
        Case(GQA_SIZES),
        Case(GQA_SIZES | MQA | TIED | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}, heads=LM),
    ],
    "nemotron": [
        Case(GQA_SIZES),
        Case(
            GQA_SIZES | MQA | TIED | {
                "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu",
                "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0},
            },
            heads=LM,
        ),
    ],
    "granite": [
        Case(GQA_SIZES | {"attention_multiplier": 0.1}),
        Case(
            GQA_SIZES | MQA | TIED | MULTIPLIERS | {"attention_bias": True, "mlp_bias": True}, heads=LM,
        ),
    ],
    "smollm3": [
        Case(GQA_SIZES | {"num_hidden_layers": 4}),
        Case(
            GQA_SIZES | MQA | {
                "attention_bias": True, "mlp_bias": True, "no_rope_layers": [1, 0, 1], "use_sliding_window": True,
                "sliding_window": 5, "tie_word_embeddings": False,
            },
            heads=LM,
        ),
        Case(
            GQA_SIZES | {
                "no_rope_layers": [1, 1, 1], "layer_types": [SLIDING, SLIDING, FULL], "sliding_window": 5,
                "rope_parameters": YARN,
            },
            heads=LM,
        ),
    ],
    "qwen2": [
        Case(GQA_SIZES),
        Case(
            GQA_SIZES | TIED | {
                "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2, "head_dim": 10,
            },
            heads=LM,
        ),
        Case(
            GQA_SIZES | {
                "use_sliding_window": True, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "rope_parameters": YARN,
            },
            heads=LM,
        ),
    ],
    "qwen3": [
        Case(GQA_SIZES | {"head_dim": 10}),
        Case(
            GQA_SIZES | MQA | TIED | {
                "attention_bias": True, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
            },
            heads=LM,
        ),
    ],
    "glm": [
        Case(GQA_SIZES | {"head_dim": 12}),
        Case(
            GQA_SIZES | TIED | {
                "head_dim": 10, "attention_bias": False, "rope_parameters": LINEAR | {"partial_rotary_factor": 0.4},
            },
            heads=LM,
        ),
    ],
    "glm4": [
        Case(GQA_SIZES | {"head_dim": 12}),
        Case(
            GQA_SIZES | MQA | TIED | {
                "attention_bias": False,
                "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0},
            },
            heads=LM,
        ),
    ],
    "helium": [
        Case(GQA_SIZES | {"head_dim": 12}),
        Case(
            GQA_SIZES | TIED | {
                "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 6, "attention_bias": True,
                "mlp_bias": True, "rope_parameters": YARN,
            },
            heads=LM,
        ),
        Case(GQA_SIZES | {"head_dim": 12, "rope_parameters": UNREAD_FACTOR}, heads=LM),
    ],
    "ernie4_5": [
        Case(GQA_SIZES | {"head_dim": 12}),
        Case(GQA_SIZES | MQA | {"use_bias": True, "tie_word_embeddings": False}, heads=LM),
        Case(GQA_SIZES | {"head_dim": 12, "rope_parameters": PROPORTIONAL}, heads=LM),
    ],
    "gemma": [
        Case(GQA_SIZES | {"head_dim": 10}),
        Case(
            GQA_SIZES | MQA | {"attention_bias": True, "hidden_act": "silu", "tie_word_embeddings": False}, heads=LM,
        ),
    ],
    # the native classes cannot cap attention scores in sdpa
    "gemma2": [
        Case(GQA_SIZES | {"head_dim": 10, "sliding_window": 5}, sdpa=False),
        Case(
            GQA_SIZES | MQA | {
                "attention_bias": True, "hidden_activation": "silu", "tie_word_embeddings": False, "sliding_window": 5,
                "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
                "layer_types": [FULL, SLIDING, SLIDING],
            },
            heads=LM, sdpa=False,
        ),
        Case(
            GQA_SIZES | {
                "head_dim": 12, "attn_logit_softcapping": None, "final_logit_softcapping": None,
                "query_pre_attn_scalar": 12, "layer_types": [FULL] * 3,
            },
            heads=LM, sdpa=False,
        ),
    ],
    "vaultgemma": [
        Case(GQA_SIZES | {"head_dim": 10, "sliding_window": 5}, sdpa=False),
        Case(
            GQA_SIZES | MQA | {
                "attention_bias": True, "tie_word_embeddings": False, "query_pre_attn_scalar": 20,
                "attn_logit_softcapping": 2.0, "final_logit_softcapping": None, "layer_types": [FULL] * 3,
            },
            heads=LM, sdpa=False,
        ),
    ],
    "gemma3_text": [
        Case(GQA_SIZES | {"head_dim": 10, "sliding_window": 5}),
        Case(
            GQA_SIZES | MQA | {
                "attention_bias": True, "tie_word_embeddings": False, "sliding_window": 5, "num_hidden_layers": 4,
                "query_pre_attn_scalar": 20, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0,
                "layer_types": [SLIDING, SLIDING, FULL, SLIDING],
                "rope_parameters": {FULL: LINEAR, SLIDING: {"rope_type": "default", "rope_theta": 100.0}},
            },
            heads=LM,
        ),
        Case(
            GQA_SIZES | {
                "head_dim": 12, "sliding_window": 5, "layer_types": [FULL, FULL, SLIDING],
                # the native class looks for `truncate` outside these dictionaries
                "rope_parameters": {FULL: YARN | {"truncate": False}, SLIDING: UNREAD_FACTOR},
            },
            heads=LM,
        ),
    ],
    "olmo3": [
        Case(GQA_SIZES | {"num_hidden_layers": 4, "sliding_window": 5}),
        Case(
            GQA_SIZES | MQA | TIED | {
                "attention_bias": True, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "rope_parameters": {FULL: YARN, SLIDING: {"rope_type": "default", "rope_theta": 100.0}},
            },
            heads=LM,
        ),
    ],
    "exaone4": [
        Case(GQA_SIZES | {"num_hidden_layers": 4, "sliding_window": 5}),
        Case(
            GQA_SIZES | MQA | TIED | {"sliding_window": None, "layer_types": [FULL] * 3, "rope_parameters": LLAMA3},
            heads=LM,
        ),
        Case(GQA_SIZES | {"sliding_window": 5, "layer_types": [FULL] * 3}, heads=LM),
        Case(GQA_SIZES | {"sliding_window": 5, "layer_types": [SLIDING] * 3}, heads=LM),
    ],
    "phi3": [
        Case(GQA_SIZES),
        Case(
            GQA_SIZES | MQA | TIED | {
                "sliding_window": 5,
                "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.4},
            },
            heads=LM,
        ),
        # short factors, and long ones; the native model drops the cache when generation goes from one to the other
        *(
            Case(
                GQA_SIZES | {
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
        Case(GQA_SIZES | {"head_dim": 12, "sliding_window": 5, "num_hidden_layers": 5}),
        Case(
            GQA_SIZES | MQA | TIED | {"mlp_bias": True, "layer_types": [FULL] * 3, "rope_parameters": LINEAR}, heads=LM,
        ),
    ],
    "jais2": [
        Case(GQA_SIZES),
        Case(GQA_SIZES | MQA | TIED | {"attention_bias": False, "mlp_bias": False, "hidden_act": "gelu"}, heads=LM),
    ],
    "iquestcoder": [Case(GQA_SIZES | {"head_dim": 10})],
    "internlm3": [
        Case(GQA_SIZES | {"head_dim": 12, "attention_bias": True, "mlp_bias": True, "rope_parameters": DYNAMIC}),
    ],
    "hyperclovax": [
        Case(GQA_SIZES),
        Case(
            GQA_SIZES | MQA | TIED | MULTIPLIERS | {"attention_bias": True, "mlp_bias": True, "use_post_norm": False},
            heads=LM,
        ),
    ],
    # the native class has no sdpa with attention sinks
    "granite_swa": [
        Case(GQA_SIZES | {"num_hidden_layers": 5, "sliding_window": 5, "attention_multiplier": 0.1}, sdpa=False),
        Case(
            GQA_SIZES | MQA | MULTIPLIERS | {
                "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "sliding_window": 5,
                "layer_types": [SLIDING, FULL, SLIDING], "layer_rope_theta": [500.0, 0, 500.0],
            },
            heads=LM, sdpa=False,
        ),
    ],
    # dense, with layers of attention alone; without rotary positions, with them. Its masks do not read position_ids.
    "granitemoehybrid": [
        Case(GQA_SIZES | DENSE | {"attention_multiplier": 0.1}, packed=False),
        Case(
            GQA_SIZES | MQA | DENSE | MULTIPLIERS | {
                "attention_bias": True, "tie_word_embeddings": True, "position_embedding_type": "rope",
                "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
            },
            heads=LM, packed=False,
        ),
    ],
    "cohere2": [
        Case(GQA_SIZES | {"num_hidden_layers": 5, "sliding_window": 5}),
        Case(
            GQA_SIZES | {
                "num_key_value_heads": 1, "attention_bias": True, "tie_word_embeddings": False, "logit_scale": 0.3,
                "sliding_window": 5, "layer_types": [SLIDING] * 3, "rope_parameters": YARN,
            },
            heads=LM,
        ),
        Case(GQA_SIZES | {"layer_types": [FULL] * 3}, heads=LM),
    ],
    "hunyuan_v1_dense": [
        Case(GQA_SIZES | {"head_dim": 12}),
        *(
            Case(GQA_SIZES | MQA | TIED | {"attention_bias": True, "rope_parameters": DYNAMIC | more}, heads=LM)
            for more in ({}, {"alpha": 1000.0})
        ),
    ],
    "nanochat": [
        Case(GQA_SIZES),
        Case(GQA_SIZES | MQA | TIED | {"attention_bias": True, "rope_parameters": LINEAR, "hidden_act": "gelu"}),
    ],
}  # fmt: skip
