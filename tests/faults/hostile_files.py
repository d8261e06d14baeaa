"""Checkpoints that are damaged, or hold code that nobody trusts, opened in every way."""

import shutil
from itertools import product
from pathlib import Path
from random import Random
from unittest.mock import patch

from hf_tfm import from_native
from hf_tfm.conversion import ConversionError
from tests.conversion.test_convert import make_gpt2
from tests.conversion.test_convert_command import save_tokenizer
from tests.conversion.test_damaged_checkpoints import DAMAGES, marker_of
from tests.grid import make
from tests.modeling.test_untrusted_code import OPENERS, make_hostile, opened

WAYS = list(product(OPENERS, ({}, {"trust_remote_code": False})))
# from_native reads no tokenizer
MODEL_DAMAGES = [name for name, (_, names) in DAMAGES.items() if "tokenizer" not in names]


def prepare_code(folder: Path) -> Path:
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


def prepare_native(folder: Path) -> Path:
    make_gpt2().save_pretrained(folder / "checkpoint")
    save_tokenizer(folder / "checkpoint")
    return folder


def convert_damaged(folder: Path, random: Random, output: str) -> str | None:
    """Each trial converts a checkpoint with the next damage."""
    damage = MODEL_DAMAGES[int(output.rsplit("-", 1)[1]) % len(MODEL_DAMAGES)]
    checkpoint = folder / output / "checkpoint"
    shutil.copytree(folder / "checkpoint", checkpoint)
    DAMAGES[damage][0](checkpoint)
    try:
        from_native(str(checkpoint))
    except (ConversionError, OSError):
        return f"{damage}: its code ran" if marker_of(checkpoint).exists() else None
    return f"{damage}: converted"
