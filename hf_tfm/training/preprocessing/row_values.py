"""Values of a row in the form that the tasks read: texts, labels, and the usual layouts of answers, choices, messages
and words. What is ambiguous is refused with the reason."""

import json
import math
from typing import Any

__all__ = [
    "RowError",
    "aligned_answer",
    "answers_of",
    "choices_of",
    "is_missing",
    "label_of",
    "messages_of",
    "scalar_text",
    "text_list",
    "text_of",
]

# other names of the roles in conversations
ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


class RowError(ValueError):
    """Why a row cannot be used. The message continues a sentence that begins with the row's location."""


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: null, NaN, or text without a character that is visible."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def scalar_text(value: Any) -> str | None:
    """The text of a scalar; None for other values. Text stays what it is; numbers and booleans are written as in JSON,
    and whole numbers without a fraction, since JSON and Parquet do not distinguish 1 and 1.0 reliably."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value) if isinstance(value, (bool, int, float)) else None


def text_of(value: Any, name: str) -> str:
    """A text, or the text of a number. Raises RowError for an empty cell, other values, and invalid characters."""
    if is_missing(value):
        raise RowError(f"has no {name}")
    text = scalar_text(value)
    if text is None:
        raise RowError(
            f"has a {name} that is no text: {shortened(value)}; choose another column: --columns {name}=<column>"
        )
    return valid_text(text, name)


def valid_text(text: str, name: str) -> str:
    """The text itself. Raises RowError if it has a lone surrogate, which JSON can hold and UTF-8 cannot."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError(f"has a {name} with half a character (a lone surrogate): {shortened(text)}") from None
    return text


def label_of(value: Any, name: str = "label") -> str | list[str]:
    """A label as text, or several as a list of texts. Raises RowError for an empty cell and other values."""
    return [text_of(item, name) for item in value] if isinstance(value, list) else text_of(value, name)


def text_list(value: Any, name: str) -> list[str]:
    """A list of texts, also one that is written as JSON text. Raises RowError for other values."""
    value = from_json_text(value)
    if is_missing(value) or value == []:
        raise RowError(f"has no {name}")
    if not isinstance(value, list):
        raise RowError(f"has {name} that are no list: {shortened(value)}")
    return [text_of(item, f"text in its {name}") for item in value]


def choices_of(value: Any) -> tuple[list[str], list[str]]:
    """The texts of choices and their keys: of a list of texts, or of {"text": [...], "label": [...]} with the choices'
    keys as labels (ARC). Raises RowError for other values."""
    value = from_json_text(value)
    if isinstance(value, dict) and "text" in value:
        texts = text_list(value["text"], "choices")
        keys = [] if value.get("label") is None else text_list(value["label"], "keys of the choices")
        if keys and len(set(keys)) != len(texts):
            raise RowError(
                f"has {len(texts)} choices and the keys {', '.join(keys)}; each choice needs a key of its own"
            )
        return texts, keys
    return text_list(value, "choices"), []


def messages_of(value: Any) -> list[dict[str, str]]:
    """A conversation as a list of role and content, from that, from ShareGPT's from and value, and from either as JSON
    text. Raises RowError for other values, and if there is no message of the assistant."""
    value = from_json_text(value)
    if is_missing(value):
        raise RowError("has no messages")
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(f'is not a list of messages such as {{"role": "user", "content": "..."}}: {shortened(value)}')
    messages = [message_of(item, number) for number, item in enumerate(value, start=1)]
    roles = list(dict.fromkeys(message["role"] for message in messages))
    if "assistant" not in roles:
        raise RowError(
            f"has no message of the assistant, so it has nothing to learn; its roles are: {', '.join(roles) or 'none'}"
        )
    return messages


def message_of(item: dict[str, Any], number: int) -> dict[str, str]:
    role = item["role"] if item.get("role") is not None else item.get("from")
    content = item["content"] if item.get("content") is not None else item.get("value")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text") or "") for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise RowError(f"has no role or no text in message {number}: {shortened(item)}")
    return {"role": ROLES.get(role.lower(), role.lower()), "content": valid_text(content, "message")}


def answers_of(value: Any, context: str, is_impossible: Any = None) -> dict[str, list[Any]]:
    """Answers as {"text": [...], "answer_start": [...]}, aligned with the context: from that, one answer without lists,
    a list of dictionaries, and either as JSON text. Null means no answer only where `is_impossible` says so (SQuAD 2).
    Raises RowError for other values."""
    value = from_json_text(value)
    if is_missing(value):
        if is_impossible is not True:
            raise RowError("has no answers; a question that the context does not answer has an empty list of them")
        value = []
    if isinstance(value, dict):
        value = dictionaries_of(value)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(f'has answers that are not {{"text": [...], "answer_start": [...]}}: {shortened(value)}')
    if value and is_impossible is True:
        raise RowError(f"says is_impossible, and has answers: {shortened(value)}")
    aligned = [aligned_answer(context, item.get("text"), item.get("answer_start")) for item in value]
    return {"text": [text for text, _ in aligned], "answer_start": [start for _, start in aligned]}


def dictionaries_of(answers: dict[str, Any]) -> list[dict[str, Any]]:
    """One dictionary per answer, from a dictionary of lists or of one answer."""
    text, start = answers.get("text"), answers.get("answer_start")
    if not isinstance(text, list) and not isinstance(start, list):
        return [{"text": text, "answer_start": start}]
    if not isinstance(text, list) or not isinstance(start, list) or len(text) != len(start):
        raise RowError(f"has answers whose text and answer_start are no lists of the same length: {shortened(answers)}")
    return [{"text": item, "answer_start": at} for item, at in zip(text, start, strict=True)]


def aligned_answer(context: str, text: Any, start: Any) -> tuple[str, int]:
    """An answer without white space around it, and where it starts, in characters. White space between `start` and the
    answer is skipped. Raises RowError if the context has another text there."""
    if not isinstance(text, str) or not text.strip():
        raise RowError(
            f"has an answer without text ({shortened(text)}); a question that the context does not answer has an empty "
            "list of answers"
        )
    if isinstance(start, bool) or not isinstance(start, int):
        raise RowError(f"has the answer_start {shortened(start)}, which is no whole number")
    core = text.strip()
    rest = context[start:] if start >= 0 else ""
    begin = start + len(rest) - len(rest.lstrip())
    if rest and context.startswith(core, begin):
        return core, begin
    found = context.find(core)
    hint = (
        f"it stands at {found}: answer_start counts characters from 0, not bytes or words"
        if found >= 0
        else "it is nowhere in the context: compare case, spaces and Unicode forms"
    )
    raise RowError(
        f"has the answer {text!r}, which should stand at character {start} of its context, where there is "
        f"{rest[: len(text)]!r}; {hint}"
    )


def from_json_text(value: Any) -> Any:
    """A list or dictionary that is written as JSON text; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def shortened(value: Any) -> str:
    """A value in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
