"""What `test_trl.py` runs in processes of their own."""

from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import compute_flops_per_token

TEXTS = ["the quick brown fox", "a model reads words and writes more words", "one two", "the lazy dog jumps over it"]
DOCUMENTS = [{"text": text} for text in TEXTS]
CHATS = [[{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}] for text in TEXTS]
PAIRS = [{"prompt": text[:6], "completion": text[6:]} for text in TEXTS]
PREFERENCES = [{"prompt": text[:4], "chosen": text[4:], "rejected": "no"} for text in TEXTS]
# what is compared; rewards are those of sampled text
LOGGED = ("loss", "grad_norm", "reward", "aux_loss")
# float32, so that losses can be compared
SETTINGS: dict[str, Any] = {
    "max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1, "learning_rate": 1e-3, "save_strategy": "no",
    "bf16": False, "use_cpu": True, "report_to": "none", "disable_tqdm": True,
}  # fmt: skip


def train(checkpoints: Any, trainer_class: Any, config_class: Any, rows: list[Any], **options: Any) -> dict[str, Any]:
    """What a trainer logs of each step on a checkpoint, opened by its folder, as TRL's examples do: the columns of
    `LOGGED` that it has."""
    name = options.pop("name", "llama")
    given = {key: options.pop(key) for key in ("peft_config", "reward_funcs") if key in options}
    args = config_class(output_dir=checkpoints.workplace, **{**SETTINGS, **checkpoints.options, **options})
    trainer = trainer_class(
        model=checkpoints.folder(name), args=args, train_dataset=Dataset.from_list(rows),
        processing_class=checkpoints.load(AutoTokenizer, name), **given,
    )  # fmt: skip
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {column: [entry[column] for entry in history] for column in LOGGED if column in history[0]}


def train_sft(checkpoints: Any, rows: list[Any], **options: Any) -> dict[str, Any]:
    return train(checkpoints, SFTTrainer, SFTConfig, rows, **options)


def sft(checkpoints: Any) -> Any:
    return train_sft(checkpoints, DOCUMENTS)


def dense(checkpoints: Any) -> Any:
    """What TRL takes a model without experts for: its operations per token, and the answer to a weight of the
    load-balancing loss."""
    flops = compute_flops_per_token(checkpoints.load(AutoConfig), 16)
    try:
        return {"flops": flops, "answer": str(train_sft(checkpoints, DOCUMENTS, router_aux_loss_coef=0.1))}
    except ValueError as error:
        return {"flops": flops, "answer": str(error)}


def sft_packed(checkpoints: Any) -> Any:
    """All documents in one row, and each in a row of its own: the same tokens, the same loss."""
    options = {"per_device_train_batch_size": 4, "max_length": 128, "max_steps": 1}
    packed = train_sft(checkpoints, DOCUMENTS, packing=True, **options)
    return {"packed": packed["loss"], "separate": train_sft(checkpoints, DOCUMENTS, **options)["loss"]}


def packed_batch(checkpoints: Any) -> Any:
    """The batch that TRL's collator makes of packed documents, in a plain forward, whose cache is on by default."""
    tokenizer, model = checkpoints.load(AutoTokenizer), checkpoints.load(AutoModelForCausalLM)
    rows = [tokenizer(text).input_ids for text in TEXTS]
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id, padding_free=True)
    batch = collator([{"input_ids": row, "labels": row} for row in rows])
    tokens = [torch.tensor([row]) for row in rows]
    with torch.no_grad():
        summed = sum(model(row, labels=row).loss * (row.shape[1] - 1) for row in tokens)
        packed = model(**batch).loss
    separate = float(summed) / sum(row.shape[1] - 1 for row in tokens)
    return {"packed": float(packed), "separate": separate, "module": type(model).__module__}


def sft_padding_free(checkpoints: Any) -> Any:
    options = {"per_device_train_batch_size": 4, "max_length": None, "max_steps": 1}
    packed = train_sft(checkpoints, DOCUMENTS, padding_free=True, **options)
    return {"packed": packed["loss"], "separate": train_sft(checkpoints, DOCUMENTS, **options)["loss"]}


def sft_completion_only(checkpoints: Any) -> Any:
    return train_sft(checkpoints, PAIRS)


def sft_assistant_only(checkpoints: Any) -> Any:
    return train_sft(checkpoints, [{"messages": chat} for chat in CHATS], assistant_only_loss=True)


def sft_gradient_checkpointing(checkpoints: Any) -> Any:
    flags = {"on": True, "off": False}
    return {name: train_sft(checkpoints, DOCUMENTS, gradient_checkpointing=flag) for name, flag in flags.items()}


def sft_lora(checkpoints: Any) -> Any:
    return train_sft(checkpoints, DOCUMENTS, peft_config=LoraConfig(target_modules="all-linear"))


def sft_experts(checkpoints: Any) -> Any:
    return train_sft(checkpoints, DOCUMENTS, name="experts")


def sft_alibi(checkpoints: Any) -> Any:
    """Packed too: a score bias has distances of its own in each document."""
    options = {"per_device_train_batch_size": 4, "max_length": 128, "max_steps": 1, "name": "alibi"}
    packed = train_sft(checkpoints, DOCUMENTS, packing=True, **options)
    return {"packed": packed["loss"], "separate": train_sft(checkpoints, DOCUMENTS, **options)["loss"]}


def dpo(checkpoints: Any) -> Any:
    return train(checkpoints, DPOTrainer, DPOConfig, PREFERENCES)


def kto(checkpoints: Any) -> Any:
    rows = [{**row, "label": number % 2 == 0} for number, row in enumerate(PAIRS)]
    return train(checkpoints, KTOTrainer, KTOConfig, rows)


def reward(checkpoints: Any) -> Any:
    return train(checkpoints, RewardTrainer, RewardConfig, PREFERENCES)


def grpo(checkpoints: Any) -> Any:
    def count(completions: list[str], **_: Any) -> list[float]:
        return [float(len(text)) for text in completions]

    rows = [{"prompt": text} for text in TEXTS]
    # rewards that differ: text is sampled
    options = {"num_generations": 2, "max_completion_length": 6}
    return train(checkpoints, GRPOTrainer, GRPOConfig, rows, reward_funcs=count, **options)
