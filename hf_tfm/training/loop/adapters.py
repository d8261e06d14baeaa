"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) with PEFT."""

from typing import Any

from ..arguments.model_arguments import ModelArguments
from ..objectives.base import Objective
from ..utils.printing import print_on_main_process

__all__ = ["add_adapter", "merge_adapter"]


def add_adapter(model: Any, args: ModelArguments, objective: Objective) -> Any:
    """The model with a trainable adapter on every linear layer of its blocks and a trainable head; all other weights
    are frozen. Raises ImportError without PEFT."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError('Adapters need PEFT: pip install "hf_tfm[peft]"') from error
    if args.merge_adapter:
        # the base model stays out of the adapter's files, which are only kept until the adapter is merged
        model.name_or_path = model.config.name_or_path = ""
    head = head_modules(model)
    config = LoraConfig(
        task_type=objective.peft_task_type,
        r=args.lora_r,
        lora_alpha=args.lora_alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=args.lora_dropout,
        target_modules="all-linear",
        exclude_modules=[name for name, _ in model.named_modules() if name.partition(".")[0] in head],
        modules_to_save=head,
    )
    peft_model = get_peft_model(model, config)
    trainable, total = peft_model.get_nb_trainable_parameters()
    print_on_main_process(f"Adapter: {trainable:,} of {total:,} parameters are trained")
    return peft_model


def head_modules(model: Any) -> list[str]:
    """Names of the modules that the task adds to the base model. They are new, so they are trained without an adapter
    and saved beside it. Empty for a language model, whose head comes with the checkpoint."""
    if model.get_output_embeddings() is not None:
        return []
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and next(module.parameters(), None) is not None
    ]


def merge_adapter(trainer: Any) -> None:
    """Merge a trained adapter into the weights, so that the whole model is saved."""
    trainer.model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    trainer.model_wrapped = trainer.model
