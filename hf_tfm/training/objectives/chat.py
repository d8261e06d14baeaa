"""Answer in a conversation: a causal language model whose loss is on the assistant's tokens only."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import DataCollatorForTokenClassification

from ..metrics.perplexity import IGNORE_INDEX, Perplexity
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.truncation import report_cut
from .base import Measured, Objective, literal, sum_up
from .causal_lm import CausalLM
from .text_sampling import continue_text

__all__ = ["Chat"]


class Chat(CausalLM):
    """Lists of messages, each a role and a content, written out by the tokenizer's chat template, whose
    {% generation %} blocks say which tokens are the assistant's."""

    task = "chat"
    required = ("messages",)
    python_set = "conversations"
    split_by = "messages"
    shares = Objective.shares
    length_option = "--max_length"
    measures = {
        "nats_per_token": "nats per token of the assistant (the loss)",
        "perplexity": "perplexity per token of the assistant",
    }

    def clean(self, table: Any, where: str) -> Any:
        def check(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            for row, messages in zip(rows, batch["messages"], strict=True):
                refuse_messages(messages, f"Row {row + 1} of {where}")
            return batch

        return map_rows(table, check, with_indices=True, desc="Reading conversations")

    def text_parts(self) -> tuple[str, ...]:
        return ()

    def texts(self, row: dict[str, Any]) -> Any:
        for message in row["messages"]:
            yield message["content"]

    def row_length(self) -> int:
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
        write = partial(write_out, tokenizer=tokenizer, limit=limit, policy=policy)
        return {
            name: report_cut(
                map_rows(table, write, remove=["messages"], with_indices=True, num_proc=num_proc, desc="Tokenising"),
                name,
                "--max_length",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorForTokenClassification(tokenizer)

    def measure(self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int) -> Measured:
        return partial(sum_up, metric=Perplexity(cache_dir), source_bytes=None)

    def baselines(self, data: Any) -> dict[str, float]:
        return {}

    def asked(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [[{"role": "user", "content": prompt}] for prompt in prompts]
        limit = self.args.max_length
        told = (row["messages"] for row in data.splits["test"])
        fitting = (messages for messages in told if len(prompt_of(messages, tokenizer)) < limit)
        return list(islice(fitting, 3))

    def shown(self, asked: list[dict[str, str]]) -> str:
        return "\n".join(f"{message['role']}: {message['content']}" for message in up_to_answer(asked))

    def wanted(self, asked: list[dict[str, str]]) -> str | None:
        answered = len(asked) > len(up_to_answer(asked))
        return asked[len(up_to_answer(asked))]["content"] if answered else None

    def answer(self, model: Any, tokenizer: Any, asked: list[dict[str, str]]) -> str:
        prompt = tokenizer.apply_chat_template(up_to_answer(asked), tokenize=False, add_generation_prompt=True)
        written = continue_text(model, tokenizer, prompt, self.seed, add_special_tokens=False)
        before = tokenizer.decode(tokenizer(prompt, add_special_tokens=False).input_ids, skip_special_tokens=True)
        return written[len(before) :].strip()

    def usage(self, home: str, asked: list[dict[str, str]]) -> str:
        return "\n".join(
            [
                "from transformers import pipeline",
                f'chat = pipeline("text-generation", model={literal(home)}, trust_remote_code=True)',
                f"messages = {literal(up_to_answer(asked))}",
                'print(chat(messages, max_new_tokens=60)[0]["generated_text"][-1]["content"])',
            ]
        )


def up_to_answer(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages before the assistant's first one."""
    first = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    return messages[:first]


def prompt_of(messages: list[dict[str, str]], tokenizer: Any) -> list[int]:
    """Tokens of the messages before the answer, and of its beginning."""
    text = tokenizer.apply_chat_template(up_to_answer(messages), tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def refuse_messages(messages: Any, where: str) -> None:
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


def write_out(
    batch: dict[str, list[Any]], rows: list[int], tokenizer: Any, limit: int, policy: str
) -> dict[str, list[Any]]:
    """Conversations as tokens. Raises ValueError for one longer than `limit` unless `policy` is "cut"."""
    written: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], "cut": []}
    for row, messages in zip(rows, batch["messages"], strict=True):
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        if len(ids) > limit and policy == "refuse":
            raise ValueError(
                f"Conversation {row + 1} has {len(ids)} tokens, more than --max_length {limit}. Raise it, or leave the "
                "ends off with --long_texts cut."
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
        written["cut"].append(len(ids) > limit)
    return written
