"""The launch files can be read by the tools that use them. Running them would need GPUs or a cluster."""

import inspect
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from hf_tfm.training.loop.distributed_trainer import use_full_state_dict

CONFIGS = Path(__file__).parents[2] / "hf_tfm" / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_file_and_knows_every_key(path):
    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    given = yaml.safe_load(path.read_text())
    assert config.num_processes == given["num_processes"]
    assert config.mixed_precision == given["mixed_precision"]


def test_accelerate_knows_every_fsdp_option(monkeypatch):
    """accelerate's plugin reads every fsdp_<option> as an environment variable."""
    options = yaml.safe_load((CONFIGS / "fsdp2.yaml").read_text())["fsdp_config"]
    for name, value in options.items():
        monkeypatch.setenv(name.upper(), str(value).lower() if isinstance(value, bool) else str(value))
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"


def test_weights_are_saved_whole_whatever_an_fsdp_file_says(monkeypatch):
    """With SHARDED_STATE_DICT, accelerate's default for FSDP2, Trainer would save a model without weights."""
    monkeypatch.setenv("FSDP_VERSION", "2")
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"
    use_full_state_dict(plugin)
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert type(plugin.state_dict_config).__name__ == "FullStateDictConfig"


def automatic(values, prefix=""):
    """Dotted names of the "auto" values of a DeepSpeed file."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from automatic(value, f"{prefix}{name}.")
        elif value == "auto":
            yield prefix + name


@pytest.mark.parametrize("stage", [2, 3])
def test_transformers_fills_every_auto_value_of_the_zero_files(stage):
    content = json.loads((CONFIGS / f"zero{stage}.json").read_text())
    assert content["zero_optimization"]["stage"] == stage
    filled = inspect.getsource(HfTrainerDeepSpeedConfig)
    missing = [name for name in automatic(content) if f'"{name}"' not in filled]
    assert not missing


def test_the_cluster_script_is_valid_bash():
    assert subprocess.run(["bash", "-n", str(CONFIGS / "slurm.sh")], check=False).returncode == 0
