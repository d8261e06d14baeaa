"""Runs functions in a group of two gloo processes on the CPU, and the models that both processes load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from transformers.distributed import DistributedConfig

from tests.conformance.missing_modules.distributed_testing_utils import run_distributed
from tests.grid import ids, make

WORLD_SIZE = 2
LENGTH = 12
AUTO_CLASSES = {"encoder": AutoModelForMaskedLM, "decoder": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM}

# one model for each feature that parallel plans split differently
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("decoder", {}),
    "odd_vocabulary": ("decoder", {"vocab_size": 53, "mlp_bias": True}),
    "grouped": (
        "decoder",
        {
            "num_key_value_heads": 2, "qk_norm": "head", "attention_output_gate": "head", "width_scaling": "mup",
            "mup_base_width": 16,
        },
    ),
    "alibi": ("decoder", {"position_type": "alibi", "residual_type": "parallel", "mlp_type": "plain"}),
    "relative_bias": ("decoder", {"position_type": "relative_bias", "qk_norm": "heads"}),
    "gathered": (
        "decoder",
        {"position_type": "alibi", "qk_norm": "width", "attention_output_gate": "channel", "value_residual": True},
    ),
    "sinks": ("decoder", {"attention_sinks": True, "attn_logit_softcapping": 5.0, "residual_type": "sandwich"}),
    "sinks_and_bias": ("decoder", {"attention_sinks": True, "position_type": "relative_bias"}),
    "experts": ("decoder", {"mlp_type": "moe", "num_experts": 4, "shared_expert_intermediate_size": 16}),
    "some_experts": ("decoder", {"mlp_type": "moe", "num_experts": 4, "moe_layers": [True, False, True]}),
    "untied_learned_post": (
        "decoder",
        {
            "tie_word_embeddings": False, "position_type": "learned", "residual_type": "post",
            "norm_type": "layer_norm", "qkv_bias": True, "out_bias": True, "mlp_bias": True, "embedding_scale": 2.0,
        },
    ),
    "factorised": (
        "decoder", {"embedding_size": 16, "position_type": "sinusoidal", "norm_type": "nonparametric_rms_norm"},
    ),
    "encoder": ("encoder", {"position_type": "relative_bias", "lm_head_type": "transform"}),
    "one_key_value_head": ("decoder", {"num_key_value_heads": 1}),
    "seq2seq": ("seq2seq", {"position_type": "relative_bias"}),
    "seq2seq_rotary": (
        "seq2seq",
        {
            "num_key_value_heads": 2, "tie_encoder_decoder_embeddings": False, "z_loss_coef": 0.1,
            "width_scaling": "mup", "mup_base_width": 16, "mup_base_head_dim": 4,
            "qk_norm": "heads", "qk_norm_position": "after_rotation", "value_residual": True,
        },
    ),
}  # fmt: skip


def save(name: str, folder: Path) -> None:
    """Save the model `name` for both processes."""
    architecture, fields = MODELS[name]
    # Adam enlarges the rounding of gradients near zero; with this seed all of it is well below the tolerance
    make(architecture, seed=2, **{"vocab_size": 54, **fields}).save_pretrained(folder / name)


def load(name: str, folder: Path, **distributed: int) -> Any:
    """The model `name`, distributed by these fields of transformers' DistributedConfig if there are any."""
    settings = {"distributed_config": DistributedConfig(**distributed)} if distributed else {}
    return AUTO_CLASSES[MODELS[name][0]].from_pretrained(folder / name, **settings)


def batch(name: str) -> dict[str, torch.Tensor]:
    """Two rows with labels; the second is padded on the left."""
    tokens = ids(2, LENGTH)
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    return {"input_ids": tokens, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}


def run_in_group(rank: int, function: Callable, arguments: tuple) -> None:
    assert dist.get_world_size() == WORLD_SIZE
    function(*arguments)


def run_in_two_processes(function: Callable, *arguments: Any) -> None:
    """Call function(*arguments) in two processes of one group; raises the first error of either."""
    run_distributed(WORLD_SIZE)(run_in_group)(function, arguments)
