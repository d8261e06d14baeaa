"""What a task changes among the defaults: values measured on the sets that Python carries, on two CPU cores."""

from typing import Any

from transformers import PreTrainedConfig

__all__ = [
    "ARGUMENTS_OF_TASK",
    "CONFIG_FIELDS_OF_TASK",
    "FINE_TUNING_ARGUMENTS",
    "default_config_fields",
    "default_help",
    "fine_tuning_arguments",
]

# Fields of the configuration, and the recipe, of a model for which nothing was asked.
DEFAULT_CONFIG_FIELDS: dict[str, Any] = {
    "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6, "tie_word_embeddings": True,
    "depth_scaling": "scaled",
}  # fmt: skip
CONFIG_FIELDS_OF_TASK: dict[str, dict[str, Any]] = {
    "causal-lm": {"recipe": "llama"},
    "chat": {"recipe": "llama"},
    "seq2seq": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "sequence-classification": {"pooling": "mean", "hidden_dropout": 0.1},
    "token-classification": {"hidden_dropout": 0.1},
    "question-answering": {"hidden_dropout": 0.1},
    # the texts share words, wherever they stand: no positions, and token types to tell the two apart
    "multiple-choice": {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "position_type": "none",
        "type_vocab_size": 2, "pooling": "mean", "initializer_range": 0.1, "hidden_dropout": 0.1,
    },
}  # fmt: skip
# Options of the command line other than the model's.
ARGUMENTS_OF_TASK: dict[str, dict[str, Any]] = {
    "seq2seq": {
        "vocab_size": 512, "max_length": 64, "max_target_length": 32, "per_device_train_batch_size": 64,
        "eval_steps": 200, "predict_with_generate": True, "max_eval_samples": 200,
    },
    "sequence-classification": {"max_length": 128},
    "token-classification": {"max_length": 128},
    "question-answering": {"max_length": 256, "eval_steps": 200},
    # few short tokens, so that the two spellings of a word, in code and in a sentence, share most of them
    "multiple-choice": {"vocab_size": 512, "max_length": 96, "per_device_train_batch_size": 8, "eval_steps": 400},
    "chat": {"max_length": 256},
}  # fmt: skip
# Options of a run that goes on from a checkpoint. Of ours: rates measured at width 128 (cards of small sets). Of a
# native family: what published models are tuned with (Devlin et al. 2019, arXiv:1810.04805, appendix A.3; adapters:
# Dettmers et al. 2023, arXiv:2305.14314, table 9).
FINE_TUNING_ARGUMENTS: dict[str, dict[str, Any]] = {
    "tfm": {"optimizer": "adamw", "learning_rate": 2e-3, "muon_learning_rate": 0.005},
    "tfm adapter": {"optimizer": "adamw", "learning_rate": 5e-3},
    "native": {"optimizer": "adamw", "learning_rate": 5e-5, "muon_learning_rate": 0.005},
    "native adapter": {"optimizer": "adamw", "learning_rate": 2e-4},
}


def fine_tuning_arguments(source: str, adapter: bool) -> dict[str, Any]:
    """Options that a run from the checkpoint `source` has of its own; none where it cannot be read (said later)."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(source)
    except (OSError, ValueError):
        return {}
    ours = str(config.get("model_type")).startswith("tfm_") and not config.get("origin")
    return FINE_TUNING_ARGUMENTS[
        ("tfm adapter" if ours else "native adapter") if adapter else ("tfm" if ours else "native")
    ]


def default_config_fields(task: str, recipe: str | None) -> dict[str, Any]:
    """Usual fields of a new model for a task, with "recipe": the one asked for, or the task's usual one, if any. What a
    recipe decides is left to it."""
    usual = {"recipe": None} | DEFAULT_CONFIG_FIELDS | CONFIG_FIELDS_OF_TASK.get(task, {})
    if recipe is None:
        return usual
    return {name: value for name, value in usual.items() if name in DEFAULT_CONFIG_FIELDS} | {"recipe": recipe}


def default_help(name: str) -> str:
    """For a help text: the value that an unset option has, and which tasks have another one."""
    others = [f"{words[name]} for {task}" for task, words in CONFIG_FIELDS_OF_TASK.items() if name in words]
    return ", ".join([f"unset: {DEFAULT_CONFIG_FIELDS[name]}", *others])
