"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) through PEFT, which learns our model types when it is used."""

from pathlib import Path
from typing import Any

from ..arguments.model_arguments import ModelArguments
from ..utils.printing import print_on_main_process

__all__ = ["add_adapter", "merge_adapter", "register_model_types_in_peft"]

MODEL_TYPES = ("tfm_encoder", "tfm_decoder", "tfm_seq2seq")
# task -> PEFT's word, by which it trains and saves a task's head beside the adapter
PEFT_TASK_TYPES = {
    "causal-lm": "CAUSAL_LM", "chat": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "denoising": "SEQ_2_SEQ_LM",
    "sequence-classification": "SEQ_CLS", "token-classification": "TOKEN_CLS", "question-answering": "QUESTION_ANS",
}  # fmt: skip


def register_model_types_in_peft() -> None:
    """Our projections are called as Llama's are, so our model types take Llama's row in each of PEFT's tables: adapters
    without `target_modules` then find their place. Raises ImportError, in one line, without PEFT."""
    try:
        from peft.utils import constants
    except ImportError as error:
        raise ImportError('Adapters need PEFT: pip install "hf_tfm[peft]"') from error
    for table in vars(constants).values():
        if isinstance(table, dict) and "llama" in table:
            for model_type in MODEL_TYPES:
                table.setdefault(model_type, table["llama"])


def add_adapter(model: Any, args: ModelArguments, task: str) -> Any:
    """The model with a trainable adapter on every linear map of its blocks, and its head; the rest is frozen."""
    register_model_types_in_peft()
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=PEFT_TASK_TYPES.get(task),
        r=args.lora_r,
        lora_alpha=args.lora_alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=args.lora_dropout,
        target_modules="all-linear",
        modules_to_save=HEAD_MODULES.get(task),
    )
    adapted = get_peft_model(model, config)
    trainable, all_of_them = adapted.get_nb_trainable_parameters()
    print_on_main_process(f"Adapter: {trainable:,} of {all_of_them:,} parameters are trained")
    return adapted


# Heads that PEFT's words do not know by name.
HEAD_MODULES = {"multiple-choice": ["classifier"]}


def merge_adapter(trainer: Any) -> None:
    """Add a trained adapter into the weights below it, so that what is saved is a whole model, and take away what was
    saved of the adapter before training."""
    trainer.model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    trainer.model_wrapped = trainer.model
    if trainer.args.should_save:
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            (Path(trainer.args.output_dir) / name).unlink(missing_ok=True)
