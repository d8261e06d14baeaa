"""The arms of a comparison: named settings, from `--vary`, `--arm` and `--arms`.

A setting is an option of train.py, or a field of the configuration, which train.py takes in --config_overrides."""

import dataclasses
import difflib
import itertools
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_tfm.modeling.configuration_tfm import TfmDecoderConfig, TfmEncoderConfig, TfmSeq2SeqConfig
from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments

__all__ = ["Arm", "check_names", "crossed_arms", "named_arm", "read_arms", "unknown_settings"]

OPTIONS = frozenset(
    item.name
    for kind in (ModelArguments, DataArguments, TaskArguments, TfmTrainingArguments)
    for item in dataclasses.fields(kind)
    if item.init
)
CONFIG_FIELDS = frozenset(
    item.name for kind in (TfmEncoderConfig, TfmDecoderConfig, TfmSeq2SeqConfig) for item in dataclasses.fields(kind)
)
# What the comparison itself sets in every run; also refused among the options that all arms share.
OWN_OPTIONS = frozenset(
    """output_dir overwrite_output_dir resume_from_checkpoint seed num_train_epochs early_stopping_patience push_to_hub
    config_overrides disable_tqdm max_steps""".split()
)


@dataclass(frozen=True)
class Arm:
    """One design. `settings`: values by option of train.py or field of the configuration. `solved`: sizes that were
    solved for an equal budget, by field."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    solved: dict[str, int] = field(default_factory=dict)

    def arguments(self, shared_fields: str | None = None) -> list[str]:
        """The settings as arguments of train.py. `shared_fields`: the --config_overrides of all arms."""
        arguments = []
        fields = {name: value for name, value in self.settings.items() if name not in OPTIONS}
        for name, value in self.settings.items():
            if name in OPTIONS:
                values = value if isinstance(value, list) else [value]
                arguments += [f"--{name}", *(item if isinstance(item, str) else json.dumps(item) for item in values)]
        overrides = (json.loads(shared_fields) if shared_fields else {}) | fields | self.solved
        return [*arguments, "--config_overrides", json.dumps(overrides)] if overrides else arguments

    @property
    def folder(self) -> str:
        """The name as a name of a folder."""
        return re.sub(r"[^\w.=-]+", "_", self.name).strip("_")

    def with_solved(self, **sizes: int) -> "Arm":
        return dataclasses.replace(self, solved=self.solved | sizes)


def setting_value(text: str) -> Any:
    """A JSON value (true, 4, 0.5), a list or an object as YAML writes it, without quotes ([full_attention,
    sliding_attention]), and any other text as it is."""
    try:
        return yaml.safe_load(text) if text[:1] in ("[", "{") else json.loads(text)
    except (json.JSONDecodeError, yaml.YAMLError):
        return text


def split_words(text: str) -> list[str]:
    """Words between commas, except commas inside of brackets."""
    return [word for word in re.split(r",(?![^\[{]*[\]}])", text) if word]


def parse_setting(text: str) -> tuple[str, str]:
    """Name and text of `name=value`. Raises ValueError for anything else."""
    name, equals, value = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not equals or not name or not value:
        raise ValueError(f"{text!r} is not name=value; write for example position_type=alibi.")
    return name, value.strip()


def crossed_arms(varied: list[str]) -> list[Arm]:
    """Every combination of the words of `field=word,word` texts. Its first words are the first arm."""
    axes = [(name, split_words(value)) for name, value in map(parse_setting, varied)]
    names = [name for name, _ in axes]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--vary {name} stands twice; write all its words in one: --vary {name}=word,word.")
    return [
        Arm(
            " ".join(f"{name}={word}" for name, word in zip(names, words, strict=True)),
            {name: setting_value(word) for name, word in zip(names, words, strict=True)},
        )
        for words in itertools.product(*(words for _, words in axes))
        if axes
    ]


def named_arm(text: str) -> Arm:
    """The arm of `name: field=word field=word`; nothing after the colon is the defaults."""
    name, colon, settings = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f'--arm "{text}" has no name; write for example --arm "alibi: position_type=alibi".')
    pairs = [parse_setting(part) for part in shlex.split(settings)]
    return Arm(name.strip(), {field: setting_value(value) for field, value in pairs})


def read_arms(path: Path) -> list[Arm]:
    """The arms of a YAML or JSON file: {name: {field: value}}, in its order. Raises ValueError for another shape."""
    try:
        # JSON is YAML
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"--arms {path} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    whole = isinstance(content, dict) and all(isinstance(item, dict | None) for item in content.values())
    if not whole or not content:
        example = "alibi: {position_type: alibi}"
        raise ValueError(f"--arms {path} must hold arms by name, each with its settings, such as {example!r}.")
    return [Arm(str(name), {str(key): value for key, value in (item or {}).items()}) for name, item in content.items()]


def check_names(arms: list[Arm]) -> list[str]:
    """What is wrong with the names, and with arms that are none."""
    problems, seen = [], {}
    for arm in arms:
        if not arm.folder:
            problems.append(f"arm {arm.name!r} has a name without a letter or digit.")
        elif arm.folder in seen:
            problems.append(f"arms {seen[arm.folder]!r} and {arm.name!r} have one name; names must differ.")
        seen.setdefault(arm.folder, arm.name)
    return problems


def unknown_settings(arm: Arm) -> list[str]:
    """What no option and no field is called, and what the comparison sets itself."""
    problems = []
    for name in arm.settings:
        if name in OWN_OPTIONS:
            problems.append(f"{name} is set by the comparison itself and cannot be varied.")
        elif name not in OPTIONS | CONFIG_FIELDS:
            close = difflib.get_close_matches(name, sorted(OPTIONS | CONFIG_FIELDS), 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            problems.append(f"{name} is no option of train.py and no field of the configuration{hint}")
    return problems
