"""Models over several processes: a style that the host lacks, and what cannot be split."""

from typing import Any

from transformers.distributed.parallel_utils import ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard
from transformers.distributed.tensor_parallel import LocalParamsParallel

from .plans import pipeline_obstacle


class OwnHeadsBias(LocalParamsParallel):
    """For an attention whose heads are split: the position bias (B, H, T, S) is cut to this process's heads."""

    def transform_inputs_pre_forward(self, module: Any, args: Any, kwargs: Any, mesh: Any) -> tuple[Any, Any]:
        hidden_states, memory, bias, *rest = args
        heads = bias.shape[1] // mesh.size()
        own = bias.narrow(1, mesh.get_local_rank() * heads, heads)
        return (hidden_states, memory, own, *rest), kwargs


styles: Any = ALL_PARALLEL_STYLES  # typed as a registry of functions; the styles in it are objects
styles.register("own_heads_bias", OwnHeadsBias())


def keep_side(model: Any, prefix: str, name: str) -> None:
    """Leave in the plans of a part of an encoder-decoder the rules below `prefix`, now called `name`."""
    for plan in (model._tp_plan, model._ep_plan, model._fsdp_plan):
        own = {name + rule.removeprefix(prefix): plan[rule] for rule in plan if rule.startswith(prefix)}
        plan.clear()
        plan.update(own)


def check_splits(model: Any, sizes: Any) -> None:
    """Raises ValueError, naming the field, for what would be split wrongly; `sizes`: the host's DistributedConfig."""
    if sizes.tp_size > 1:
        check_heads(model, sizes.tp_size)
    if sizes.pp_size > 1:
        check_stages(model, sizes.pp_size)
    if sizes.fsdp_size > 1:
        check_tied_tables(model, sizes.fsdp_size)


def check_stages(model: Any, pp_size: int) -> None:
    """Raises ValueError if the model has no pipeline plan from its words to its logits."""
    if not {"model.layers", "lm_head"} <= model.pp_plan.keys():
        reason = pipeline_obstacle(model.config) or type(model).__name__
        raise ValueError(
            f"pp_size={pp_size} is not supported for {reason}: later stages would enter the trunk with hidden states "
            "as word vectors. Pipelines are for causal language models with rotary, bias or no positions and plain "
            "embeddings; use tp_size or fsdp_size here."
        )


def check_tied_tables(model: Any, fsdp_size: int) -> None:
    """Raises ValueError if a tied table has a number of rows that `fsdp_size` does not divide: the host would pad it
    in two places, and train only one of them."""
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


def refuse_staged_cache(model: Any, use_cache: bool) -> None:
    """Raises ValueError for a cache in a pipeline: the host counts cached tokens by the first block, which later stages
    do not hold, and goes on with other text."""
    if use_cache and hasattr(model, "_pp_stage"):
        raise ValueError("A model in pipeline stages generates without a cache: pass use_cache=False, or use tp_size.")
