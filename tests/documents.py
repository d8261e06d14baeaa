"""The pages for users, README and model_cards: their fenced blocks, their sentences, their code in sentences."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# cards of runs whose models are not here, or that take long: their Python is not run, all else is checked
MEASURED_CARDS = {"causal-lm", "multi30k", "small-sets", "tinyshakespeare", "width_and_rate"}
DOCUMENTS = [README, *sorted((ROOT / "model_cards").glob("*.md"))]
PAGES = [path for path in DOCUMENTS if path.stem not in MEASURED_CARDS]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(documents: list[Path]) -> Any:
    return pytest.mark.parametrize("document", documents, ids=lambda path: path.name)


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the document on which the text begins."""

    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text[: found.start(2)].count("\n") + 1) for found in FENCE.finditer(text)]


def prose(document: Path) -> str:
    """The document without its fenced blocks."""
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def code_spans(document: Path) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(document))]


def is_distributed(block: Block) -> bool:
    return block.text.startswith("# torchrun --nproc-per-node 2 ")
