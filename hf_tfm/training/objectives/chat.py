"""Chat: a causal language model that learns only the assistant's tokens of a conversation."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Features, List, Value
from jinja2 import TemplateError
from transformers import DataCollatorForTokenClassification

from hf_tfm.modeling.loss import IGNORE_INDEX
from hf_tfm.usage import python_literal

from ..metrics.perplexity import Perplexity
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.row_values import RowError, messages_of
from ..preprocessing.rows import LOCATION
from ..preprocessing.truncation import report_truncated
from .base import ComputeMetrics, Objective, perplexity_results
from .causal_lm import CausalLM
from .label_frequencies import unigram_baseline
from .text_sampling import sample_text

__all__ = ["Chat"]


class Chat(CausalLM):
    """Formats lists of messages (role and content) with the tokenizer's chat template. Its {% generation %} blocks mark
    the assistant's tokens, which are the labels."""

    task = "chat"
    required_columns = ("messages",)
    builtin_dataset = "conversations"
    split_column = "messages"
    split_fractions = Objective.split_fractions
    length_option = Objective.length_option
    length_columns = {"max_length": "input_ids"}
    default_arguments = {"max_length": 256}
    metric_labels = {
        "nats_per_token": "nats per token of the assistant (the loss)",
        "perplexity": "perplexity per token of the assistant",
    }

    def features(self) -> Features:
        return Features({"messages": List({"role": Value("string"), "content": Value("string")})})

    def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"messages": messages_of(row["messages"])}

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
                f"The tokenizer's chat template {problem}, so the assistant's tokens are unknown; put "
                "{% generation %} and {% endgeneration %} around them in tokenizer.chat_template and save it."
            )

    def encoder(self, tokenizer: Any) -> Any:
        return partial(
            encode_conversations, tokenizer=tokenizer, max_length=self.args.max_length, long_texts=self.long_texts
        )

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`, -100 for all tokens that are not the assistant's."""
        encode = self.encoder(tokenizer)
        return {
            name: report_truncated(
                map_rows(table, encode, remove=["messages", LOCATION], num_proc=num_proc, desc="Tokenising"),
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

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        return unigram_baseline(self, data, examples, tokenizer)

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [[{"role": "user", "content": prompt}] for prompt in prompts]
        conversations = (row["messages"] for row in data.splits["test"])
        short = (chat for chat in conversations if len(prompt_ids(chat, tokenizer)) < self.args.max_length)
        return list(islice(short, 3))

    def format_input(self, sample_input: list[dict[str, str]]) -> str:
        return "\n".join(f"{message['role']}: {message['content']}" for message in messages_before_answer(sample_input))

    def reference(self, sample_input: list[dict[str, str]]) -> str | None:
        position = len(messages_before_answer(sample_input))
        return sample_input[position]["content"] if position < len(sample_input) else None

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: list[dict[str, str]]) -> str:
        prompt = prompt_text(sample_input, tokenizer)
        generated = sample_text(model, tokenizer, prompt, self.seed, add_special_tokens=False)
        shown = tokenizer.decode(tokenizer(prompt, add_special_tokens=False).input_ids, skip_special_tokens=True)
        return generated[len(shown) :].strip()

    def inspected_text(self, tokenizer: Any, sample_input: list[dict[str, str]], output: str) -> dict[str, Any]:
        return {"text": prompt_text(sample_input, tokenizer) + output, "add_special_tokens": False}

    def usage_snippet(self, checkpoint: str, sample_input: list[dict[str, str]]) -> str:
        return "\n".join(
            [
                "from transformers import pipeline",
                f'chat = pipeline("text-generation", model={checkpoint})',
                f"messages = {python_literal(messages_before_answer(sample_input))}",
                'print(chat(messages, max_new_tokens=60)[0]["generated_text"][-1]["content"])',
            ]
        )


def messages_before_answer(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages before the first message of the assistant."""
    first = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    return messages[:first]


def prompt_text(messages: list[dict[str, str]], tokenizer: Any) -> str:
    """The messages before the answer, with the generation prompt."""
    return tokenizer.apply_chat_template(messages_before_answer(messages), tokenize=False, add_generation_prompt=True)


def prompt_ids(messages: list[dict[str, str]], tokenizer: Any) -> list[int]:
    """The token ids of `prompt_text`."""
    return tokenizer(prompt_text(messages, tokenizer), add_special_tokens=False, verbose=False).input_ids


def encode_conversations(
    batch: dict[str, list[Any]], tokenizer: Any, max_length: int, long_texts: str
) -> dict[str, list[Any]]:
    """Conversations as token ids. Raises RowError for one longer than `max_length` unless `long_texts` is
    "truncate", and for one whose remaining tokens have no label."""
    columns: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], "truncated": []}
    for messages in batch["messages"]:
        try:
            encoded = tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
        except TemplateError as error:
            raise RowError(f"is refused by the chat template of the tokenizer: {error}") from error
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        if len(ids) > max_length and long_texts == "error":
            raise RowError(
                f"has {len(ids)} tokens, more than --max_length {max_length}; raise it, or cut the ends off with "
                "--long_texts truncate"
            )
        labels = [token if is_label else IGNORE_INDEX for token, is_label in zip(ids, mask, strict=True)]
        if set(labels[1:max_length]) <= {IGNORE_INDEX}:
            raise RowError(
                f"has no token of the assistant among its first {max_length} tokens, so it has nothing to learn; raise "
                "--max_length"
            )
        columns["input_ids"].append(ids[:max_length])
        columns["attention_mask"].append([1] * len(ids[:max_length]))
        columns["labels"].append(labels[:max_length])
        columns["truncated"].append(len(ids) > max_length)
    return columns
