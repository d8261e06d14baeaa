"""nanochat: norms without weights, one before the first block, and those of queries and keys after the rotation."""

from torch import Tensor

from ..family import Family, without
from ..rope_and_window_mappings import FULL_ROPE
from ..weight_map import rule
from ..weight_transforms import Transform, permute_rotary_elements
from .llama import ATTENTION_BIAS, EMBEDDING, HEAD_DIM, LLAMA_FIELDS, LM_HEAD

__all__ = ["FAMILIES"]


def swap_halves(index: Tensor) -> Tensor:
    return index.roll(len(index) // 2)


# nanochat rotates by the negative angle; with the halves of every head swapped, that is a rotation by the angle
swapped = permute_rotary_elements(swap_halves, weight_per_head=False)
SWAP_HALVES = Transform(swapped, swapped)

NANOCHAT = Family(
    name="nanochat",
    our_model_type="tfm_decoder",
    recipe="llama",
    base_weights=(
        EMBEDDING,
        rule("layers.{}.self_attn.q_proj", "layers.{}.self_attn.q_proj", SWAP_HALVES),
        rule("layers.{}.self_attn.k_proj", "layers.{}.self_attn.k_proj", SWAP_HALVES),
        rule("layers.{}.self_attn.v_proj", "layers.{}.self_attn.v_proj"),
        rule("layers.{}.self_attn.o_proj", "layers.{}.self_attn.o_proj"),
        rule("layers.{}.mlp.fc1", "layers.{}.mlp.up_proj"),
        rule("layers.{}.mlp.fc2", "layers.{}.mlp.down_proj"),
    ),
    head_weights={"base": (), "causal-lm": LM_HEAD},
    fixed_fields={
        "norm_type": "nonparametric_rms_norm", "embedding_norm": "after_positions", "mlp_type": "plain",
        "qk_norm": "head", "qk_norm_position": "after_rotation",
    },
    field_map={**without(LLAMA_FIELDS, "head_dim"), "final_logit_softcapping": "final_logit_softcapping"},
    config_mappings=(ATTENTION_BIAS, HEAD_DIM, FULL_ROPE),
)  # fmt: skip

FAMILIES = (NANOCHAT,)
