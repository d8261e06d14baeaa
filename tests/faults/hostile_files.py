"""Checkpoints with code that nobody trusts, opened in every way."""

from itertools import product
from pathlib import Path
from random import Random
from unittest.mock import patch

from tests.grid import make
from tests.modeling.test_untrusted_code import OPENERS, make_hostile, opened

WAYS = list(product(OPENERS, ({}, {"trust_remote_code": False})))


def prepare(folder: Path) -> Path:
    make("decoder").save_pretrained(folder / "checkpoint")
    make_hostile(folder / "checkpoint", folder / "code_has_run")
    return folder


def open_untrusted(folder: Path, random: Random, output: str) -> str | None:
    """Each trial opens the checkpoint in the next way."""
    opener, options = WAYS[int(output.rsplit("-", 1)[1]) % len(WAYS)]
    # nobody answers the question whether the code may run
    with patch("transformers.dynamic_module_utils.TIME_OUT_REMOTE_CODE", 0):
        opened(OPENERS[opener], str(folder / "checkpoint"), **options)
    return f"{opener} with {options} ran the code" if (folder / "code_has_run").exists() else None
