"""The model of a run: new from words, new from a configuration file, or an earlier checkpoint gone on from."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedModel

from hf_tfm.modeling.recipes import RECIPES

from ..arguments.model_arguments import ModelArguments
from ..arguments.run_arguments import RunArguments
from ..arguments.task_defaults import CONFIG_FIELDS_OF_TASK
from ..objectives.base import Objective
from ..utils.printing import print_on_main_process
from .adapters import add_adapter
from .distributed import distribute_model
from .native_checkpoints import converted_checkpoint, to_tfm_config

__all__ = ["choose_model_type", "make_model", "num_token_types", "prepare_model"]

SPECIAL_TOKEN_FIELDS = ("pad_token_id", "eos_token_id", "bos_token_id")
MODEL_TYPE_OF_ARCHITECTURE = {"encoder": "tfm_encoder", "decoder": "tfm_decoder", "seq2seq": "tfm_seq2seq"}


def choose_model_type(args: ModelArguments, objective: Objective) -> str:
    """Which of the three architectures the run trains. The objective is told the labels of a checkpoint that is gone on
    from. Raises ValueError if the task has no head for the architecture."""
    fitting = list(objective.models)
    if args.init_from or args.config_file:
        source = args.init_from or args.config_file
        config = read_config(str(source))
        found, asked = config.model_type, f"{source} ({config.model_type})"
        objective.checkpoint_labels = config_label_names(config) if args.init_from else ()
    elif args.architecture:
        found, asked = MODEL_TYPE_OF_ARCHITECTURE[args.architecture], f"--architecture {args.architecture}"
    else:
        found, asked = model_type_of_recipe(args, objective)
    if found not in fitting:
        words = ", ".join(name for name, kind in MODEL_TYPE_OF_ARCHITECTURE.items() if kind in fitting)
        raise ValueError(f"{asked} does not fit --task {objective.task}, which needs: {words}.")
    return found


def model_type_of_recipe(args: ModelArguments, objective: Objective) -> tuple[str, str]:
    """The architecture that a recipe has and the task can use, and how it was asked for."""
    name = args.config_fields(objective.task)["recipe"]
    if name is None:
        return next(iter(objective.models)), ""
    if name not in RECIPES:
        raise ValueError(f"--recipe {name} is unknown; known recipes: {', '.join(RECIPES)}.")
    kinds = RECIPES[name][0]
    return next((kind for kind in objective.models if kind in kinds), kinds[0]), f"--recipe {name}"


def num_token_types(args: ModelArguments, task: str, kind: str) -> int | None:
    """Token types that the model tells apart; None where no option says it, and the tokenizer decides."""
    if kind != "tfm_encoder":
        return 0
    source = args.init_from or args.config_file
    # what is usual for a task is for new configurations: a given one says by itself whether it has a table
    words = {"recipe": None} | args.given_fields() | args.overrides if source else args.config_fields(task)
    family = read_config(source).to_dict() if source else RECIPES[words["recipe"]][1] if words["recipe"] else {}
    return (family | words).get("type_vocab_size")


def read_config(source: str) -> Any:
    """The configuration in a folder, file or Hub checkpoint, ours or a native family's in our words. Raises ValueError
    if it is neither."""
    try:
        config: Any = to_tfm_config(AutoConfig.from_pretrained(source))
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise ValueError(f"No configuration could be read from {source}: {str(error).splitlines()[0]}") from error
    if config.model_type not in MODEL_TYPE_OF_ARCHITECTURE.values():
        known = ", ".join(MODEL_TYPE_OF_ARCHITECTURE.values())
        raise ValueError(
            f"{source} is a {config.model_type}, and this script trains {known}, and the native families that "
            "`hf-tfm families` lists."
        )
    return config


def make_model(args: ModelArguments, objective: Objective, tokenizer: Any) -> PreTrainedModel:
    """The model that the arguments ask for; the tokenizer decides the vocabulary and the special tokens, the task its
    labels. Raises ValueError where they do not fit together."""
    kind = choose_model_type(args, objective)
    model_class: Any = objective.models[kind]
    words = special_token_fields(tokenizer) | objective.config_fields(tokenizer)
    if args.init_from:
        model = load_checkpoint(model_class, args, words, objective)
    else:
        model = model_class(new_config(args, objective, model_class.config_class, tokenizer, words))
    check_sizes(model.config, objective, tokenizer)
    if objective.generates_text:
        model.generation_config.max_length = objective.args.max_target_length
    return model


def config_label_names(config: Any) -> tuple[str, ...]:
    """Names of a configuration's labels in the order of their ids; none where they are the host's LABEL_0, LABEL_1."""
    names = tuple(config.id2label[number] for number in range(config.num_labels))
    return () if names == tuple(f"LABEL_{number}" for number in range(len(names))) else names


def load_checkpoint(model_class: Any, args: ModelArguments, words: dict[str, Any], objective: Objective) -> Any:
    """A checkpoint's weights; what it lacks for this task (a new head) starts at random, and is named. So does a head
    for labels of other names: its rows would mean something else. A new head pools as is usual for the task, unless a
    native family has a way of its own, or an adapter is trained, which is later laid on the checkpoint as it is."""
    config = read_config(str(args.init_from))
    earlier = config_label_names(config)
    if config.origin is None and not args.peft and model_class.__name__ not in (config.architectures or ()):
        words = {
            name: value for name, value in CONFIG_FIELDS_OF_TASK.get(objective.task, {}).items() if name == "pooling"
        } | words
    labels = {name: words[name] for name in ("id2label", "label2id") if name in words}
    others = bool(earlier and labels) and earlier != tuple(labels["id2label"].values())
    kept = {name: value for name, value in words.items() if not (others and name in labels)}
    try:
        with converted_checkpoint(str(args.init_from), objective.auto_class, labels) as folder:
            model, report = model_class.from_pretrained(folder, output_loading_info=True, **kept | args.overrides)
    except RuntimeError as error:
        heads = [len(names) for names in (config.id2label, words.get("id2label", ()))]
        raise ValueError(
            f"Some weights in {args.init_from} have other shapes than this run's model. A head for other labels is one "
            f"reason (it has {heads[0]}, the data {heads[1]}): go on from a checkpoint without that head."
        ) from error
    new = sorted(report["missing_keys"])
    if new:
        print_on_main_process(f"New weights, not in {args.init_from}: {', '.join(new)}")
    if others:
        print_on_main_process(
            f"A new head: {args.init_from} has other labels than the data ({', '.join(earlier[:20])})."
        )
        model.config.update(labels)
        model.classifier = model_class(model.config).classifier.to(model.dtype)
    return model


def new_config(args: ModelArguments, objective: Objective, config_class: Any, tokenizer: Any, words: Any) -> Any:
    """A configuration for random weights."""
    words = {"vocab_size": len(tokenizer), "max_position_embeddings": objective.max_row_length()} | words
    if config_class.model_type == "tfm_encoder" and "token_type_ids" in tokenizer.model_input_names:
        words = {"type_vocab_size": 2} | words
    if args.config_file:
        given = read_config(args.config_file).to_dict()
        not_new = ("architectures", "auto_map", "dtype", "origin")
        kept = {name: value for name, value in given.items() if name not in not_new}
        own = task_fields(words) | decoder_start_token(given, words)
        return config_class.from_dict(kept | {"vocab_size": len(tokenizer)} | own | args.overrides)
    chosen = words | args.config_fields(objective.task)
    name = chosen.pop("recipe")
    if name is None:
        return config_class(**chosen)
    return config_class.recipe(name, **decoder_start_token(RECIPES[name][1], words) | chosen)


def decoder_start_token(given: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    """The token that begins an answer, by its role in a given configuration: ids there are another tokenizer's."""
    start = given.get("decoder_start_token_id")
    roles = [
        role
        for role in SPECIAL_TOKEN_FIELDS
        if start is not None and given.get(role) == start and words[role] is not None
    ]
    return {"decoder_start_token_id": words[roles[0]]} if roles else {}


def task_fields(words: dict[str, Any]) -> dict[str, Any]:
    sizes = ("vocab_size", "max_position_embeddings", "type_vocab_size")
    return {name: value for name, value in words.items() if name not in sizes}


def special_token_fields(tokenizer: Any) -> dict[str, Any]:
    """Ids of the tokenizer's special tokens, as the configuration calls them."""
    return {name: getattr(tokenizer, name) for name in SPECIAL_TOKEN_FIELDS}


def check_sizes(config: Any, objective: Objective, tokenizer: Any) -> None:
    """Raises ValueError for a tokenizer with more words than the model, or rows longer than it reads."""
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer):,} tokens, the model only {config.vocab_size:,}; use the tokenizer of "
            "its checkpoint (leave out --tokenizer_name)."
        )
    longest, option = objective.max_row_length(), objective.length_option
    if config.max_position_embeddings < longest:
        raise ValueError(
            f"The model reads at most {config.max_position_embeddings} tokens (max_position_embeddings), and rows may "
            f"have {longest}: use {option} {config.max_position_embeddings}, or a longer model."
        )


def prepare_model(model: Any, run_args: RunArguments, folder: Path) -> Any:
    """The model as it is trained: with its adapter, or spread over processes, or as it is."""
    if run_args.model.peft:
        return add_adapter(model, run_args.model, run_args.training.task)
    return distribute_model(model, run_args.training, folder)
