"""The package and a checkpoint's own code refuse a too old transformers with an error of one line, before they import
anything that it lacks. All files that name the oldest supported version agree."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from hf_tfm.modeling import configuration_tfm
from hf_tfm.modeling.configuration_tfm import MINIMUM_TRANSFORMERS, check_version
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM

FLOOR = Path(configuration_tfm.__file__).parent
ROOT = FLOOR.parents[1]
TOO_OLD = "5.9.3"

# The checkpoint comes first, before the package is imported, so that the checkpoint's own code has to check.
SCRIPT = """
import sys
import transformers
transformers.__version__ = sys.argv[2]
def load_checkpoint(): transformers.AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
def import_package(): import hf_tfm
for step in (load_checkpoint, import_package):
    try:
        step()
    except Exception as error:
        print(f"REFUSED {type(error).__name__}: {error!s}")
print("LOADED", *(name for name in sys.modules if name.rpartition(".")[2] in ("modeling_tfm", "recipes")))
"""


def test_package_and_checkpoint_refuse_old_transformers_in_one_line(tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(FLOOR, folder, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {"model_type": "tfm_decoder", "auto_map": TfmDecoderForCausalLM._auto_map}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), TOO_OLD],
        cwd=tmp_path,
        env={**os.environ, **environment, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    line = (
        f"REFUSED ImportError: This model's code needs transformers {MINIMUM_TRANSFORMERS} or newer, and {TOO_OLD} is "
        "installed: pip install --upgrade transformers"
    )
    # LOADED without names: none of our other files was imported
    assert done.stdout.splitlines() == [line, line, "LOADED"], done.stdout + done.stderr


@pytest.mark.parametrize("version", ["4.57.6", "5.0.0", "5.9.3", "5.20.2"])
def test_older_versions_are_refused(version):
    with pytest.raises(ImportError, match=rf"\A[^\n]*{re.escape(version)}[^\n]*\Z"):
        check_version(version)


@pytest.mark.parametrize(
    "version",
    [MINIMUM_TRANSFORMERS, f"{MINIMUM_TRANSFORMERS}.1", "5.100.0.dev0", "6.0.0rc1", transformers.__version__],
)
def test_oldest_supported_and_newer_versions_are_accepted(version):
    check_version(version)


def test_files_that_name_the_oldest_version_agree():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"transformers>={MINIMUM_TRANSFORMERS},<6"' in pyproject, "pyproject.toml"
    pins = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    assert f"transformers=={MINIMUM_TRANSFORMERS}.0" in pins, "constraints-oldest.txt"
    assert f"older transformers than {MINIMUM_TRANSFORMERS} " in (ROOT / "README.md").read_text(encoding="utf-8")
