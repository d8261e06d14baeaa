"""Lines of Python that load a checkpoint by its folder or Hub name, and its card on the Hub."""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers.models.auto import modeling_auto

from hf_tfm.modeling.modeling_tfm import NAME_TABLES
from hf_tfm.privacy import shareable

__all__ = ["adapter_note", "auto_class_of", "card_to_send", "checkpoint_arguments", "loading_lines", "python_literal"]

# task_type of an adapter -> Auto class of its base model.
ADAPTER_TASKS = {
    "CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification", "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}  # fmt: skip
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
# What `checkpoint_arguments` writes into a card, up to the argument that only it writes.
STRING = r'"(?:[^"\\]|\\.)*"'
CARD_ARGUMENTS = re.compile(rf"{STRING}(?:, revision={STRING})?(?=, trust_remote_code=True)")
# what `hf-tfm convert` writes into the card of a native model, which needs no code
NATIVE_ARGUMENTS = r"(?<=\.from_pretrained\(){folder}(?=\))"


def checkpoint_arguments(name: str, revision: str | None = None) -> str:
    """The arguments of `pipeline` and `from_pretrained` that load a checkpoint, a folder or Hub name, with its code."""
    return f"{name_and_revision(name, revision)}, trust_remote_code=True"


def name_and_revision(name: str, revision: str | None) -> str:
    return python_literal(name) + (f", revision={python_literal(revision)}" if revision else "")


def adapter_note(base_model: str | None) -> str:
    """A line of Python that says what an adapter needs. Of a folder it has the last part."""
    return f"# an adapter on {shareable(base_model)}: pip install peft"


def python_literal(value: Any) -> str:
    """A value as Python source code, with double quotes around strings and escapes for what cannot be printed."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{python_literal(key)}: {python_literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(python_literal, value))}]"
    if not isinstance(value, str):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def auto_class_of(fields: dict[str, Any]) -> str:
    """The name of the Auto class that opens a checkpoint as the class that wrote it, by the fields of its config.json;
    AutoModel if none does."""
    written_by = (fields.get("architectures") or [""])[0]
    own = [name for name, reference in (fields.get("auto_map") or {}).items() if is_class(reference, written_by)]
    for auto_class, table in NAME_TABLES.items():
        native = getattr(modeling_auto, table).get(fields.get("model_type"), ())
        own += [auto_class] if written_by in ([native] if isinstance(native, str) else native) else []
    # a task says more than these two
    own.sort(key=lambda name: name in ("AutoModel", "AutoModelForPreTraining"))
    return next((name for name in own if name in NAME_TABLES), "AutoModel")


def is_class(reference: Any, name: str) -> bool:
    return isinstance(reference, str) and reference.rpartition(".")[2] == name


def loading_lines(fields: dict[str, Any], files: list[str], name: str, revision: str | None = None) -> str:
    """Python that loads what was pushed: the tokenizer, if there is one, and the model. `fields`: those of its
    config.json or adapter_config.json; `files`: the names of all files."""
    is_adapter = "peft_type" in fields
    auto_class = ADAPTER_TASKS.get(fields.get("task_type", ""), "AutoModel") if is_adapter else auto_class_of(fields)
    # the base model of an adapter may have code
    needs_code = is_adapter or "auto_map" in fields
    arguments = (checkpoint_arguments if needs_code else name_and_revision)(name, revision)
    parts = {"tokenizer": "AutoTokenizer"} if any(file in files for file in TOKENIZER_FILES) else {}
    parts |= {"model": auto_class}
    lines = [adapter_note(fields.get("base_model_name_or_path"))] if is_adapter else []
    lines += [f"from transformers import {', '.join(sorted(parts.values()))}", ""]
    return "\n".join([*lines, *(f"{part} = {auto}.from_pretrained({arguments})" for part, auto in parts.items())])


def card_to_send(
    folder: Path, fields: dict[str, Any], lines: str, name: str, revision: str | None = None, license: str | None = None
) -> str:
    """The card of a folder as it is sent: with the Hub name in the lines that load it, the tag hf_tfm for our models,
    the licence, if one is given, and the base model of an adapter. A folder without a card gets one with `lines`."""
    file = folder / "README.md"
    is_adapter = "peft_type" in fields
    if file.exists():
        card = ModelCard(file.read_text(encoding="utf-8"))
        arguments, folder_name = name_and_revision(name, revision), python_literal(folder.resolve().name)
        card.text = CARD_ARGUMENTS.sub(lambda _: arguments, card.text)
        card.text = re.sub(NATIVE_ARGUMENTS.format(folder=re.escape(folder_name)), lambda _: arguments, card.text)
    else:
        data = ModelCardData(library_name="peft" if is_adapter else "transformers")
        text = f"# {name.partition('/')[2]}\n\n## Use\n\n```python\n{lines}\n```"
        card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")
    is_ours = str(fields.get("model_type")).startswith("tfm_")
    data: Any = card.data
    data.tags = [*dict.fromkeys([*(data.tags or []), *(["hf_tfm"] if is_ours else [])])] or None
    data.license = license or data.license
    if is_adapter:
        data.base_model = data.base_model or fields.get("base_model_name_or_path")
    return str(card)
