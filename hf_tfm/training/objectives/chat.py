"""Answer in a conversation: a causal language model whose loss is on the assistant's tokens only."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import DataCollatorForTokenClassification

from hf_tfm.modeling.loss import IGNORE_INDEX

from ..metrics.perplexity import Perplexity
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.truncation import report_truncated
from .base import ComputeMetrics, Objective, perplexity_results, python_literal
from .causal_lm import CausalLM
from .text_sampling import sample_text

__all__ = ["Chat"]


class Chat(CausalLM):
    """Lists of messages, each a role and a content, written out by the tokenizer's chat template, whose
    {% generation %} blocks say which tokens are the assistant's."""

    task = "chat"
    required_columns = ("messages",)
    builtin_dataset = "conversations"
    split_column = "messages"
    split_fractions = Objective.split_fractions
    length_option = "--max_length"
    metric_labels = {
        "nats_per_token": "nats per token of the assistant (the loss)",
        "perplexity": "perplexity per token of the assistant",
    }

    def prepare_rows(self, table: Any, where: str) -> Any:
        def check(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            for row, messages in zip(rows, batch["messages"], strict=True):
                check_messages(messages, f"Row {row + 1} of {where}")
            return batch

        return map_rows(table, check, with_indices=True, desc="Reading conversations")

    def text_columns(self) -> tuple[str, ...]:
        return ()

    def texts(self, row: dict[str, Any]) -> Any:
        for message in row["messages"]:
            yield message["content"]

    def max_row_length(self) -> int:
        return self.args.max_length

    def tokenizer_style(self, model_type: str) -> str:
        return "chat"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        super().prepare_tokenizer(tokenizer)
        template = tokenizer.chat_template or ""
        if "generation %}" not in template:
            problem = "has no {% generation %} blocks" if template else "is missing"
            raise ValueError(
                f"The tokenizer's chat template {problem}, so the assistant's tokens cannot be told from the others; "
                "put {% generation %} and {% endgeneration %} around them in tokenizer.chat_template and save it."
            )

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`, -100 where the assistant does not speak."""
        limit, policy = self.args.max_length, self.long_texts
        write = partial(encode_conversations, tokenizer=tokenizer, limit=limit, policy=policy)
        return {
            name: report_truncated(
                map_rows(table, write, remove=["messages"], with_indices=True, num_proc=num_proc, desc="Tokenising"),
                name,
                "--max_length",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorForTokenClassification(tokenizer)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        return partial(perplexity_results, metric=Perplexity(cache_dir), source_bytes=None)

    def baselines(self, data: Any) -> dict[str, float]:
        return {}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [[{"role": "user", "content": prompt}] for prompt in prompts]
        limit = self.args.max_length
        told = (row["messages"] for row in data.splits["test"])
        fitting = (messages for messages in told if len(prompt_ids(messages, tokenizer)) < limit)
        return list(islice(fitting, 3))

    def format_input(self, sample_input: list[dict[str, str]]) -> str:
        return "\n".join(f"{message['role']}: {message['content']}" for message in messages_before_answer(sample_input))

    def reference(self, sample_input: list[dict[str, str]]) -> str | None:
        answered = len(sample_input) > len(messages_before_answer(sample_input))
        return sample_input[len(messages_before_answer(sample_input))]["content"] if answered else None

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: list[dict[str, str]]) -> str:
        prompt = tokenizer.apply_chat_template(
            messages_before_answer(sample_input), tokenize=False, add_generation_prompt=True
        )
        written = sample_text(model, tokenizer, prompt, self.seed, add_special_tokens=False)
        before = tokenizer.decode(tokenizer(prompt, add_special_tokens=False).input_ids, skip_special_tokens=True)
        return written[len(before) :].strip()

    def usage_snippet(self, home: str, sample_input: list[dict[str, str]]) -> str:
        return "\n".join(
            [
                "from transformers import pipeline",
                f'chat = pipeline("text-generation", model={python_literal(home)}, trust_remote_code=True)',
                f"messages = {python_literal(messages_before_answer(sample_input))}",
                'print(chat(messages, max_new_tokens=60)[0]["generated_text"][-1]["content"])',
            ]
        )


def messages_before_answer(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages before the assistant's first one."""
    first = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    return messages[:first]


def prompt_ids(messages: list[dict[str, str]], tokenizer: Any) -> list[int]:
    """Tokens of the messages before the answer, and of its beginning."""
    text = tokenizer.apply_chat_template(messages_before_answer(messages), tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def check_messages(messages: Any, where: str) -> None:
    """Raises ValueError for what is not a conversation with an answer in it."""
    whole = isinstance(messages, list) and all(
        isinstance(item, dict) and isinstance(item.get("role"), str) and isinstance(item.get("content"), str)
        for item in messages
    )
    if not whole:
        raise ValueError(
            f'{where} is not a list of messages such as {{"role": "user", "content": "..."}}: {str(messages)[:80]!r}.'
        )
    if not any(item["role"] == "assistant" for item in messages):
        raise ValueError(f"{where} has no message of the assistant, so there is nothing to learn; leave the row out.")


def encode_conversations(
    batch: dict[str, list[Any]], rows: list[int], tokenizer: Any, limit: int, policy: str
) -> dict[str, list[Any]]:
    """Conversations as tokens. Raises ValueError for one longer than `limit` unless `policy` is "truncate"."""
    written: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], "truncated": []}
    for row, messages in zip(rows, batch["messages"], strict=True):
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        if len(ids) > limit and policy == "error":
            raise ValueError(
                f"Conversation {row + 1} has {len(ids)} tokens, more than --max_length {limit}. Raise it, or leave the "
                "ends off with --long_texts truncate."
            )
        labels = [token if flag else IGNORE_INDEX for token, flag in zip(ids, mask, strict=True)]
        if set(labels[1:limit]) <= {IGNORE_INDEX}:
            raise ValueError(
                f"Conversation {row + 1}: nothing that the assistant says is among its first {limit} tokens, and so "
                "nothing can be learnt; raise --max_length, or leave the row out."
            )
        written["input_ids"].append(ids[:limit])
        written["attention_mask"].append([1] * len(ids[:limit]))
        written["labels"].append(labels[:limit])
        written["truncated"].append(len(ids) > limit)
    return written
