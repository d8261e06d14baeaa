"""`model_cards/compatibility.md`: which tools were run, and how they did on our models and on native ones."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

INTRODUCTION = """# Compatibility: other tools on our models

Each row was run by a test on tiny models: on ours with hf_tfm imported (package), on ours from a folder by
`trust_remote_code=True` in a process without hf_tfm (remote code), and on a native model with the same weights.
`python -m tests.ecosystem --write model_cards/compatibility.md` runs the tests and writes their rows, after
`pip install -c constraints.txt -e ".[test,ecosystem]"`; `--only` repeats single ones. Tools that this does not install,
such as deepspeed, executorch, nnsight, bertviz and transformer-lens, are installed by their names.
"""
HEAD = "| tool | version | what was run | package | remote code | native | command |\n|---|---|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Row:
    """A row of the table. Its identity are the tool and what was run."""

    tool: str
    version: str
    what: str
    package: str
    remote: str
    native: str
    command: str

    @classmethod
    def of_test(cls, node: str, declared: dict[str, Any], statuses: dict[str, str], passed: bool) -> dict[str, str]:
        """The row of a test, with what its marker declares and the statuses by mode, as a dictionary."""
        if not passed:
            statuses = {
                mode: "fails" if mode != "native" and text == "works" else text for mode, text in statuses.items()
            }
        row = cls(
            declared["tool"], version(declared["tool"]), declared["what"], statuses["package"], statuses["remote"],
            statuses["native"], declared.get("command") or f"pytest {node}",
        )  # fmt: skip
        return asdict(row)

    def line(self) -> str:
        cells = [value.replace("|", "\\|") for value in asdict(self).values()]
        return f"| {' | '.join([*cells[:-1], f'`{cells[-1]}`'])} |"


def read_page(page: Path) -> list[Row]:
    """The rows of a page; none of one that does not exist."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    lines = text.partition(HEAD)[2].splitlines()
    rows = [line.strip().removeprefix("| ").removesuffix(" |").split(" | ") for line in lines if line.startswith("| ")]
    return [Row(*(cell.replace("\\|", "|") for cell in [*row[:-1], row[-1].strip("`")])) for row in rows]


def write_page(page: Path, rows: list[Row]) -> None:
    """Write rows into the page, sorted by tool, in the place of rows of the same tool and run."""
    merged = {(row.tool, row.what): row for row in [*read_page(page), *rows]}
    lines = [row.line() for row in sorted(merged.values(), key=lambda row: row.tool.lower())]
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    page.write_text(f"{INTRODUCTION}\n{versions}\n\n{HEAD}" + "\n".join(lines) + "\n", encoding="utf-8")


class TableWriter:
    """A plugin of pytest that writes the rows of the tests that ran."""

    def __init__(self, page: Path) -> None:
        self.page, self.rows = page, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.rows += [Row(**row) for name, row in report.user_properties if name == "row"]

    def pytest_sessionfinish(self) -> None:
        write_page(self.page, self.rows)
