"""Decoders with a mixture of experts."""

from tests.conversion.families.cases_llama_like import FULL, LM, MQA, MULTIPLIERS, SLIDING, TIED, YARN
from tests.conversion.tiny import GQA_SIZES, Case

QWEN_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24}

CASES: dict[str, list[Case]] = {
    "mixtral": [
        Case(GQA_SIZES | {"num_local_experts": 5, "sliding_window": 5}),
        Case(
            GQA_SIZES | MQA | TIED | {"num_local_experts": 4, "num_experts_per_tok": 3, "router_aux_loss_coef": 0.07},
            heads=LM,
        ),
    ],
    "olmoe": [
        Case(GQA_SIZES | {"num_experts": 6, "num_experts_per_tok": 3}),
        Case(
            GQA_SIZES | TIED | {
                "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "attention_bias": True,
            },
            heads=LM,
        ),
    ],
    "qwen2_moe": [
        Case(GQA_SIZES | QWEN_EXPERTS | {"shared_expert_intermediate_size": 36}),
        Case(
            GQA_SIZES | QWEN_EXPERTS | TIED | {
                "shared_expert_intermediate_size": 20, "mlp_only_layers": [1], "norm_topk_prob": True,
                "qkv_bias": False, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2,
                "head_dim": 10,
            },
            heads=LM,
        ),
    ],
    "qwen3_moe": [
        Case(GQA_SIZES | QWEN_EXPERTS),
        Case(
            GQA_SIZES | QWEN_EXPERTS | MQA | TIED | {
                "decoder_sparse_step": 2, "norm_topk_prob": True, "attention_bias": True, "use_sliding_window": True,
                "sliding_window": 5,
            },
            heads=LM,
        ),
    ],
    "flex_olmo": [
        Case(GQA_SIZES | {"num_experts": 6, "num_experts_per_tok": 3}),
        Case(
            GQA_SIZES | MQA | TIED | {
                "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "attention_bias": True,
            },
            heads=LM,
        ),
    ],
    **{
        family: [
            Case(GQA_SIZES | {"num_local_experts": 5, "attention_multiplier": 0.1}),
            Case(GQA_SIZES | MQA | TIED | MULTIPLIERS | {"num_experts_per_tok": 3, "attention_bias": True}, heads=LM),
        ]
        for family in ("granitemoe", "granitemoeshared")
    },
    # the native class has no sdpa with attention sinks
    "granitemoe_swa": [
        Case(
            GQA_SIZES | MULTIPLIERS | {
                "num_local_experts": 5, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "layer_rope_theta": [500.0, 0, 500.0],
            },
            sdpa=False,
        ),
    ],
    "mellum": [
        Case(
            GQA_SIZES | QWEN_EXPERTS | {
                "head_dim": 10, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "mlp_layer_types": ["sparse", "dense", "sparse"],
                "rope_parameters": {FULL: YARN, SLIDING: {"rope_type": "default", "rope_theta": 100.0}},
            },
        ),
        Case(GQA_SIZES | QWEN_EXPERTS | MQA | TIED | {"attention_bias": True, "norm_topk_prob": False}, heads=LM),
    ],
}  # fmt: skip
