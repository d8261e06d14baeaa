"""The model of a run: a new one from options, a new one from a configuration file, or an earlier checkpoint."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedModel

from hf_tfm.conversion.config_diff import language_model_fields
from hf_tfm.conversion.whole_checkpoints import base_prefix, check_base_weights, check_shapes, load_model
from hf_tfm.errors import missing_folder_errors
from hf_tfm.modeling.head_parts import LanguageHead
from hf_tfm.modeling.recipes import RECIPES

from ..arguments.model_arguments import ModelArguments
from ..arguments.run_arguments import RunArguments
from ..objectives.base import Objective
from ..utils.files import one_line_read_errors
from ..utils.printing import print_on_main_process
from .adapters import add_adapter
from .distributed import distribute_model
from .native_checkpoints import converted_checkpoint, to_tfm_config
from .output_dir import check_run_has_ended

__all__ = ["choose_model_type", "make_model", "max_positions", "num_token_types", "prepare_model"]

SPECIAL_TOKEN_FIELDS = ("pad_token_id", "eos_token_id", "bos_token_id")
# configuration fields that the data decide for a new model, and that --config_file keeps
SIZE_FIELDS = ("vocab_size", "max_position_embeddings", "type_vocab_size")
MODEL_TYPE_OF_ARCHITECTURE = {"encoder": "tfm_encoder", "decoder": "tfm_decoder", "seq2seq": "tfm_seq2seq"}


# Architecture


def choose_model_type(args: ModelArguments, objective: Objective) -> str:
    """The model type that the run trains. Also gives the objective the labels of an --init_from checkpoint. Raises
    ValueError if the task does not support the model type."""
    if args.init_from or args.config_file:
        source = args.init_from or args.config_file
        config = read_config(str(source))
        model_type, origin = config.model_type, f"{source} ({config.model_type})"
        objective.checkpoint_labels = config_label_names(config) if args.init_from else ()
    elif args.architecture:
        model_type, origin = MODEL_TYPE_OF_ARCHITECTURE[args.architecture], f"--architecture {args.architecture}"
    else:
        recipe = args.config_fields(objective.default_config_fields)["recipe"]
        model_type, origin = model_type_of_recipe(recipe, objective), f"--recipe {recipe}"
    if model_type not in objective.models:
        supported = ", ".join(name for name, kind in MODEL_TYPE_OF_ARCHITECTURE.items() if kind in objective.models)
        raise ValueError(f"{origin} does not fit --task {objective.task}, which supports: {supported}.")
    return model_type


def model_type_of_recipe(recipe: str | None, objective: Objective) -> str:
    """The first model type of a task that a recipe supports; without a recipe, the first of the task. Raises ValueError
    for an unknown recipe."""
    if recipe is None:
        return next(iter(objective.models))
    if recipe not in RECIPES:
        raise ValueError(f"--recipe {recipe} is unknown; known recipes: {', '.join(RECIPES)}.")
    model_types = RECIPES[recipe][0]
    return next((model_type for model_type in objective.models if model_type in model_types), model_types[0])


def num_token_types(args: ModelArguments, objective: Objective, model_type: str) -> int | None:
    """Token types of the model; None if no option sets them, so that the tokenizer decides."""
    if model_type != "tfm_encoder":
        return 0
    source = args.init_from or args.config_file
    if source:
        # not the defaults of the task, which are for new configurations
        return (read_config(source).to_dict() | args.given_fields() | args.overrides).get("type_vocab_size")
    fields = args.config_fields(objective.default_config_fields)
    recipe_fields = RECIPES[fields["recipe"]][1] if fields["recipe"] else {}
    return (recipe_fields | fields).get("type_vocab_size")


def read_config(source: str) -> Any:
    """The configuration in a folder, file or Hub checkpoint; that of a native family is converted to ours. Raises
    ValueError if it is neither, or the folder of a run that has not ended."""
    check_run_has_ended(source)
    with one_line_read_errors("configuration", source), missing_folder_errors(source):
        config: Any = to_tfm_config(AutoConfig.from_pretrained(source))
    if config.model_type not in MODEL_TYPE_OF_ARCHITECTURE.values():
        supported = ", ".join(MODEL_TYPE_OF_ARCHITECTURE.values())
        raise ValueError(
            f"{source} is a {config.model_type}; train.py supports {supported} and the native families that "
            "`hf-tfm families` lists."
        )
    return config


def max_positions(args: ModelArguments) -> int | None:
    """The positions of the model that the options select; None if the rows of the run decide."""
    source = args.init_from or args.config_file
    given = args.given_fields() | args.overrides
    return ((read_config(source).to_dict() if source else {}) | given).get("max_position_embeddings")


def config_label_names(config: Any) -> tuple[str, ...]:
    """The label names of a configuration in the order of their ids; none if they are the LABEL_0, LABEL_1, ... of
    transformers."""
    names = tuple(config.id2label[index] for index in range(config.num_labels))
    return () if names == tuple(f"LABEL_{index}" for index in range(len(names))) else names


# Model


def make_model(args: ModelArguments, objective: Objective, tokenizer: Any) -> PreTrainedModel:
    """The model of the options. Vocabulary and special tokens follow the tokenizer, labels follow the data. Raises
    ValueError if these do not fit together."""
    model_class: Any = objective.models[choose_model_type(args, objective)]
    fields = special_token_fields(tokenizer) | objective.config_fields(tokenizer)
    if args.init_from:
        model = load_checkpoint(model_class, args, fields, objective)
    elif args.config_file:
        model = model_class(config_from_file(args, model_class.config_class, tokenizer, fields))
    else:
        model = model_class(new_config(args, objective, model_class.config_class, tokenizer, fields))
    check_sizes(model.config, objective, tokenizer)
    check_overrides(model, args, objective)
    if objective.generates_text:
        model.generation_config.max_length = objective.args.max_target_length
    return model


def load_checkpoint(model_class: Any, args: ModelArguments, fields: dict[str, Any], objective: Objective) -> Any:
    """The model of a checkpoint. Weights of the head that the checkpoint lacks are initialised and printed; so is a
    head for labels with other names, because its rows belong to other classes. Raises ValueError if it lacks other
    weights, or if its files are damaged.

    A new head has the task's default pooling. Classifiers of native families keep their own pooling, and so does a
    checkpoint that gets an adapter, because the adapter is later loaded on the unchanged checkpoint."""
    config = read_config(str(args.init_from))
    old_names = config_label_names(config)
    has_head = model_class.__name__ in (config.architectures or ())
    if args.peft and not args.merge_adapter and not has_head and objective.auto_class == "AutoModel":
        raise ValueError(
            f"An adapter of --task {objective.task} is loaded on a checkpoint of that task, and {args.init_from} is a "
            f"{(config.architectures or [config.model_type])[0]}; add --merge_adapter, which saves the whole model."
        )
    # transformers has no native text embeddings, so there is no pooling to keep
    pools_itself = config.origin is not None and objective.auto_class != "AutoModel"
    if not (has_head or args.peft or pools_itself):
        pooling = objective.default_config_fields.get("pooling")
        fields = ({} if pooling is None else {"pooling": pooling}) | fields
    labels = {name: fields[name] for name in ("id2label", "label2id") if name in fields}
    has_other_labels = bool(old_names and labels) and old_names != tuple(labels["id2label"].values())
    if has_other_labels:
        # so that the old head is loaded with its own size, and replaced below
        fields = {name: value for name, value in fields.items() if name not in labels}
    with converted_checkpoint(str(args.init_from), objective.auto_class, labels) as folder:
        loaded = load_model(model_class, folder, **fields | args.overrides)
    model = loaded.model
    labels_of_both = f"(it has {len(config.id2label)}, the data {len(labels.get('id2label', ()))})"
    advice = f" If that is a head for another number of labels {labels_of_both}, use a checkpoint without that head."
    check_shapes(str(args.init_from), loaded.other_shapes, advice)
    prefix = base_prefix(model)
    check_base_weights(str(args.init_from), [name for name in loaded.new if name.startswith(prefix)])
    if loaded.new:
        print_on_main_process(f"New weights, not in {args.init_from}: {', '.join(sorted(loaded.new))}")
    if has_other_labels:
        print_on_main_process(
            f"A new head: {args.init_from} has other labels than the data ({', '.join(old_names[:20])})."
        )
        model.config.update(labels)
        model.classifier = model_class(model.config).classifier.to(model.dtype)
    return model


# Configuration


def new_config(
    args: ModelArguments, objective: Objective, config_class: Any, tokenizer: Any, fields: dict[str, Any]
) -> Any:
    """A configuration from options. `fields`: what tokenizer and data decide."""
    fields = {"vocab_size": len(tokenizer), "max_position_embeddings": objective.max_row_length()} | fields
    if config_class.model_type == "tfm_encoder" and "token_type_ids" in tokenizer.model_input_names:
        fields = {"type_vocab_size": 2} | fields
    chosen = fields | args.config_fields(objective.default_config_fields)
    recipe = chosen.pop("recipe")
    if recipe is None:
        return config_class(**chosen)
    return config_class.recipe(recipe, **decoder_start_token(RECIPES[recipe][1], fields) | chosen)


def config_from_file(args: ModelArguments, config_class: Any, tokenizer: Any, fields: dict[str, Any]) -> Any:
    """The configuration of --config_file. `fields`: what tokenizer and data decide; sizes are kept, except that of the
    vocabulary."""
    given = read_config(str(args.config_file)).to_dict()
    kept = {name: given[name] for name in given if name not in ("architectures", "auto_map", "dtype", "origin")}
    own = {name: value for name, value in fields.items() if name not in SIZE_FIELDS}
    own |= {"vocab_size": len(tokenizer)} | decoder_start_token(given, fields)
    return config_class.from_dict(kept | own | args.overrides)


def decoder_start_token(given: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The first token of the decoder, found by its role (such as end of sequence) in a given configuration, because the
    ids there belong to another tokenizer."""
    start = given.get("decoder_start_token_id")
    for role in SPECIAL_TOKEN_FIELDS:
        if start is not None and given.get(role) == start and fields[role] is not None:
            return {"decoder_start_token_id": fields[role]}
    return {}


def special_token_fields(tokenizer: Any) -> dict[str, Any]:
    """Ids of the tokenizer's special tokens by the names of the configuration."""
    return {name: getattr(tokenizer, name) for name in SPECIAL_TOKEN_FIELDS}


def check_sizes(config: Any, objective: Objective, tokenizer: Any) -> None:
    """Raises ValueError for a tokenizer with more tokens than the model, or rows longer than its positions."""
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {len(tokenizer):,} tokens, the model only {config.vocab_size:,}; use the tokenizer of "
            "its checkpoint (leave out --tokenizer_name)."
        )
    max_length, option = objective.max_row_length(), objective.length_option
    if config.max_position_embeddings < max_length:
        raise ValueError(
            f"The model reads at most {config.max_position_embeddings} tokens (max_position_embeddings), and rows may "
            f"have {max_length}; use {option} {config.max_position_embeddings}, or a model with more positions."
        )


def check_overrides(model: PreTrainedModel, args: ModelArguments, objective: Objective) -> None:
    """Raises ValueError for a field of --config_overrides that changes language models only, where none is trained."""
    unread = [] if isinstance(model, LanguageHead) else sorted(language_model_fields() & args.overrides.keys())
    if unread:
        raise ValueError(
            f"--config_overrides has {', '.join(unread)}, which only language models read, and --task {objective.task} "
            f"trains a {type(model).__name__}; leave it out."
        )


def prepare_model(model: Any, objective: Objective, run_args: RunArguments, folder: Path) -> Any:
    """The model that is trained: with an adapter, distributed over processes, or unchanged."""
    if run_args.model.peft:
        return add_adapter(model, run_args.model, objective)
    return distribute_model(model, run_args.training, folder)
