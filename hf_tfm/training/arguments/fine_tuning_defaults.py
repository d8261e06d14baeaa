"""Defaults of a run that continues from a checkpoint (--init_from)."""

from typing import Any

from transformers import PreTrainedConfig

__all__ = ["FINE_TUNING_ARGUMENTS", "fine_tuning_arguments"]

# Our own checkpoints: learning rates measured at width 128 (model cards of small data sets). Native families: what
# published models are fine-tuned with (Devlin et al. 2019, arXiv:1810.04805, appendix A.3; adapters: Dettmers et al.
# 2023, arXiv:2305.14314, table 9).
FINE_TUNING_ARGUMENTS: dict[str, dict[str, Any]] = {
    "tfm": {"optimizer": "adamw", "learning_rate": 2e-3, "muon_learning_rate": 0.005},
    "tfm adapter": {"optimizer": "adamw", "learning_rate": 5e-3},
    "native": {"optimizer": "adamw", "learning_rate": 5e-5, "muon_learning_rate": 0.005},
    "native adapter": {"optimizer": "adamw", "learning_rate": 2e-4},
}


def fine_tuning_arguments(source: str, adapter: bool) -> dict[str, Any]:
    """Options that change for a run from the checkpoint `source`. None if it cannot be read, because the run reports
    that when it opens the checkpoint."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(source)
    except (OSError, ValueError):
        return {}
    is_native = not str(config.get("model_type")).startswith("tfm_") or bool(config.get("origin"))
    return FINE_TUNING_ARGUMENTS[("native" if is_native else "tfm") + (" adapter" if adapter else "")]
