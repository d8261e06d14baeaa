"""What `test_deepspeed.py` runs in processes of their own."""

import os
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

# one process, on the CPU, through gloo
ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu", "MASTER_ADDR": "127.0.0.1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1",
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "max_steps": 3, "per_device_train_batch_size": 2, "logging_steps": 1, "learning_rate": 1e-2, "save_strategy": "no",
    "use_cpu": True, "report_to": "none", "disable_tqdm": True, "lr_scheduler_type": "constant",
}  # fmt: skip


def config_of(stage: int) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto", "gradient_accumulation_steps": "auto",
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
        # torch's AdamW: DeepSpeed's own is compiled
        "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
    }  # fmt: skip


def train(checkpoints: Any, stage: int | None) -> dict[str, Any]:
    """Losses of three steps, and the largest weight after them, as a checkpoint has it; None: without DeepSpeed."""
    rows = torch.randint(2, 300, (6, 9), generator=torch.Generator().manual_seed(1))
    given = {} if stage is None else {"deepspeed": config_of(stage)}
    # before the model: ZeRO-3 splits weights while they are loaded
    args = TrainingArguments(f"{checkpoints.workplace}/{stage}", **SETTINGS, **given)
    model = checkpoints.load(AutoModelForCausalLM)
    trainer = Trainer(model, args, train_dataset=[{"input_ids": row, "labels": row} for row in rows])
    trainer.train()
    trainer.save_model(f"{checkpoints.workplace}/{stage}/saved")
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    # otherwise what is loaded is split too, without an engine that gathers it
    unset_hf_deepspeed_config()
    saved = AutoModelForCausalLM.from_pretrained(f"{checkpoints.workplace}/{stage}/saved", **checkpoints.options)
    with torch.no_grad():
        return {"losses": losses, "saved": float(saved(rows, labels=rows).loss)}


def zero(checkpoints: Any) -> Any:
    without = train(checkpoints, None)
    os.environ.update(
        # of this run of the tests: a lock that a killed build left in the usual place would be waited for without end
        ENVIRONMENT,
        TORCH_EXTENSIONS_DIR=str(checkpoints.root.parent / "extensions"),
        MASTER_PORT={"native": "29611", "package": "29612", "remote": "29613"}[checkpoints.mode],
    )
    return {"without": without, "stage 2": train(checkpoints, 2), "stage 3": train(checkpoints, 3)}
