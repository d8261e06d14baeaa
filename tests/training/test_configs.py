"""The launch files: each is read by the tool that it is for. Without GPUs and clusters none of those is run."""

import inspect
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

CONFIGS = Path(__file__).parents[2] / "hf_tfm" / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_file_and_knows_every_key(path):
    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    given = yaml.safe_load(path.read_text())
    assert config.num_processes == given["num_processes"]
    assert config.mixed_precision == given["mixed_precision"]


def test_fsdp_words_are_those_of_the_plugin(monkeypatch):
    """Every fsdp_<word> is an environment variable that accelerate's plugin reads."""
    words = yaml.safe_load((CONFIGS / "fsdp2.yaml").read_text())["fsdp_config"]
    for name, value in words.items():
        monkeypatch.setenv(name.upper(), str(value).lower() if isinstance(value, bool) else str(value))
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"


def automatic(values, prefix=""):
    """Dotted names of the values that a DeepSpeed file leaves to the host."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from automatic(value, f"{prefix}{name}.")
        elif value == "auto":
            yield prefix + name


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_files_leave_to_the_host_what_it_fills(stage):
    content = json.loads((CONFIGS / f"zero{stage}.json").read_text())
    assert content["zero_optimization"]["stage"] == stage
    filled = inspect.getsource(HfTrainerDeepSpeedConfig)
    missing = [name for name in automatic(content) if f'"{name}"' not in filled]
    assert not missing


def test_the_cluster_script_is_sound_bash():
    assert subprocess.run(["bash", "-n", str(CONFIGS / "slurm.sh")], check=False).returncode == 0
