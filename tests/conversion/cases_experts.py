"""Decoders with experts."""

from tests.conversion.cases_modern import FULL, LM, MULTIPLIERS, ODD, SIZES, SLIDING, TIED, YARN
from tests.conversion.tiny import Case

QWEN_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24}

CASES: dict[str, list[Case]] = {
    "mixtral": [
        Case(SIZES | {"num_local_experts": 5, "sliding_window": 5}),
        Case(
            SIZES | ODD | TIED | {"num_local_experts": 4, "num_experts_per_tok": 3, "router_aux_loss_coef": 0.07},
            heads=LM,
        ),
    ],
    "olmoe": [
        Case(SIZES | {"num_experts": 6, "num_experts_per_tok": 3}),
        Case(
            SIZES | TIED | {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "attention_bias": True},
            heads=LM,
        ),
    ],
    "qwen2_moe": [
        Case(SIZES | QWEN_EXPERTS | {"shared_expert_intermediate_size": 36}),
        Case(
            SIZES | QWEN_EXPERTS | TIED | {
                "shared_expert_intermediate_size": 20, "mlp_only_layers": [1], "norm_topk_prob": True,
                "qkv_bias": False, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2,
                "head_dim": 10,
            },
            heads=LM,
        ),
    ],
    "qwen3_moe": [
        Case(SIZES | QWEN_EXPERTS),
        Case(
            SIZES | QWEN_EXPERTS | ODD | TIED | {
                "decoder_sparse_step": 2, "norm_topk_prob": True, "attention_bias": True, "use_sliding_window": True,
                "sliding_window": 5,
            },
            heads=LM,
        ),
    ],
    "flex_olmo": [
        Case(SIZES | {"num_experts": 6, "num_experts_per_tok": 3}),
        Case(
            SIZES | ODD | TIED | {
                "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "attention_bias": True,
            },
            heads=LM,
        ),
    ],
    **{
        family: [
            Case(SIZES | {"num_local_experts": 5, "attention_multiplier": 0.1}),
            Case(SIZES | ODD | TIED | MULTIPLIERS | {"num_experts_per_tok": 3, "attention_bias": True}, heads=LM),
        ]
        for family in ("granitemoe", "granitemoeshared")
    },
    # natively there is no sdpa with sinks
    "granitemoe_swa": [
        Case(
            SIZES | MULTIPLIERS | {
                "num_local_experts": 5, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "layer_rope_theta": [500.0, 0, 500.0],
            },
            sdpa=False,
        ),
    ],
    "mellum": [
        Case(
            SIZES | QWEN_EXPERTS | {
                "head_dim": 10, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING],
                "mlp_layer_types": ["sparse", "dense", "sparse"],
                "rope_parameters": {FULL: YARN, SLIDING: {"rope_type": "default", "rope_theta": 100.0}},
            },
        ),
        Case(SIZES | QWEN_EXPERTS | ODD | TIED | {"attention_bias": True, "norm_topk_prob": False}, heads=LM),
    ],
}  # fmt: skip
