"""Models over several processes: parallel styles that transformers lacks, and what cannot be split."""

from typing import Any

import torch
import torch.distributed as dist
from transformers.distributed.parallel_utils import ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard
from transformers.distributed.tensor_parallel import LocalParamsParallel, TensorParallelLayer

from .activations import has_parameters, make_activation
from .feed_forward import EXPERT_ALIGNMENT
from .parallel_plans import pipeline_obstacle


class LocalHeadsBias(LocalParamsParallel):
    """For an attention whose heads are split: the position bias (B, H, T, S) is cut to this process's heads."""

    def transform_inputs_pre_forward(self, module: Any, args: Any, kwargs: Any, mesh: Any) -> tuple[Any, Any]:
        hidden_states, memory, bias, *rest = args
        heads = bias.shape[1] // mesh.size()
        local = bias.narrow(1, mesh.get_local_rank() * heads, heads)
        return (hidden_states, memory, local, *rest), kwargs


class ReplicatedBias(TensorParallelLayer):
    """For a position whose `bias` has parameters: every process computes the bias of all heads, but its gradients cover
    its own heads only, so they are summed over processes."""

    def install_forward(self, module: Any, mesh: Any) -> Any:
        compute_bias = module.bias
        hooked: dict[str, torch.nn.Parameter] = {}

        def sum_gradient(parameter: torch.nn.Parameter) -> None:
            dist.all_reduce(parameter.grad, group=mesh.get_group())

        def bias(*args: Any, **kwargs: Any) -> Any:
            # hooked at the first call: weights are loaded, as new parameters, after styles are installed
            for name, parameter in module.named_parameters():
                if torch.is_grad_enabled() and parameter.requires_grad and hooked.get(name) is not parameter:
                    parameter.register_post_accumulate_grad_hook(sum_gradient)
                    hooked[name] = parameter
            return compute_bias(*args, **kwargs)

        module.bias = bias
        return module


styles: Any = ALL_PARALLEL_STYLES  # typed as a registry of functions; the styles in it are objects
styles.register("local_heads_bias", LocalHeadsBias())
styles.register("replicated_bias", ReplicatedBias())


def keep_plans_below(model: Any, prefix: str, new_prefix: str) -> None:
    """Keep in the plans of a part of an encoder-decoder only the rules below `prefix`, renamed to `new_prefix`."""
    for plan in (model._tp_plan, model._ep_plan, model._fsdp_plan):
        own = {new_prefix + rule.removeprefix(prefix): plan[rule] for rule in plan if rule.startswith(prefix)}
        plan.clear()
        plan.update(own)


def check_splits(model: Any, sizes: Any) -> None:
    """Raises ValueError, naming the field, for what would be split wrongly; `sizes`: a DistributedConfig."""
    splits_experts = sizes.ep_size > 1
    if sizes.tp_size > 1:
        check_heads(model, sizes.tp_size)
        if not splits_experts:
            check_expert_widths(model, sizes.tp_size)
    if sizes.tp_size > 1 or splits_experts:
        check_activation(model)
    if sizes.pp_size > 1:
        check_stages(model, sizes.pp_size)
    if sizes.fsdp_size > 1:
        check_tied_tables(model, sizes.fsdp_size)


def check_stages(model: Any, pp_size: int) -> None:
    """Raises ValueError if the model has no pipeline plan from its embeddings to its logits."""
    if not {"model.layers", "lm_head"} <= model.pp_plan.keys():
        reason = pipeline_obstacle(model.config) or type(model).__name__
        raise ValueError(
            f"pp_size={pp_size} is not supported for {reason}: later stages receive hidden states alone, in the place "
            "of word vectors. Pipelines are for causal language models with rotary, bias or no positions, plain "
            "embeddings and no value_residual; use tp_size or fsdp_size here."
        )


def check_tied_tables(model: Any, fsdp_size: int) -> None:
    """Raises ValueError if a tied table has a number of rows that `fsdp_size` does not divide: transformers would
    pad it in two places, and train only one of them."""
    for name in model.all_tied_weights_keys:
        rows = model.get_parameter(name).shape[0]
        if rows % fsdp_size:
            raise ValueError(
                f"fsdp_size={fsdp_size} does not divide the {rows} rows of the tied table {name}; pad it with "
                f"resize_token_embeddings({rows}, pad_to_multiple_of={fsdp_size}), or set tie_word_embeddings=False."
            )


def check_heads(model: Any, tp_size: int) -> None:
    """Raises ValueError if an attention whose heads are split has a number of heads that `tp_size` does not divide."""
    for name, module in model.named_modules():
        # gathered heads need no division
        if model.tp_plan.get(replace_layer_number_by_wildcard(name)) == "colwise" and name.endswith(".k_proj"):
            heads = module.out_features // model.get_submodule(name.rpartition(".")[0]).head_dim
            if heads % tp_size:
                raise ValueError(
                    f"tp_size={tp_size} does not divide the {heads} key-value heads of {name}; choose a divisor of "
                    "num_key_value_heads, or fsdp_size."
                )


def check_expert_widths(model: Any, tp_size: int) -> None:
    """Raises ValueError if a process's part of an expert's width cannot be computed by the grouped product."""
    config = model.config
    if config.mlp_type == "moe" and config._experts_implementation == "grouped_mm":
        width = config.moe_intermediate_size
        if width % (tp_size * EXPERT_ALIGNMENT):
            raise ValueError(
                f"tp_size={tp_size} cuts moe_intermediate_size ({width}) into {width / tp_size:g} elements for each "
                f'process; experts_implementation="grouped_mm" needs a multiple of {EXPERT_ALIGNMENT}. Use "eager" or '
                '"batched_mm", or ep_size, which gives whole experts to each process.'
            )


def check_activation(model: Any) -> None:
    """Raises ValueError if feed-forwards have an activation with parameters: each process has a part of the units or of
    the experts, so that its copy of these parameters would have other gradients."""
    act = model.config.hidden_act
    if has_parameters(make_activation(act)):
        raise ValueError(
            f'tp_size and ep_size are not supported for hidden_act="{act}", whose parameters each process would train '
            "to other values; use fsdp_size, or an activation without parameters."
        )


def refuse_staged_cache(model: Any, use_cache: bool) -> None:
    """Raises ValueError for a cache in a pipeline: transformers counts cached tokens by the first block, which later
    stages do not hold, and generates other text."""
    if use_cache and hasattr(model, "_pp_stage"):
        raise ValueError("A model in pipeline stages generates without a cache: pass use_cache=False, or use tp_size.")
