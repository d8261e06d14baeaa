"""Text embeddings: vectors that are near where texts belong together, learned from pairs with in-batch negatives.

Legend: N rows; B rows of a batch; C hidden size."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Features, Value
from transformers import EvalPrediction
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForTextEmbedding
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForTextEmbedding
from hf_tfm.usage import python_literal

from ..metrics.retrieval import retrieval_ranks, retrieval_results, tfidf_ranks, unique_candidates
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.row_values import text_of
from ..preprocessing.truncation import report_truncated, tokenize_within
from .base import ComputeMetrics, Objective, forward_in_eval_mode, require_special_token, short_test_rows

__all__ = ["Embeddings"]

# Texts of the test split among which the one nearest to a sample is shown.
SAMPLE_CANDIDATES = 200


class Embeddings(Objective):
    """Reads pairs of texts that belong together (anchor, positive), and optionally a third one that does not
    (negative). For each anchor the loss compares its positive with the other positives and negatives of the batch
    (in-batch negatives: Henderson et al. 2017, arXiv:1705.00652), which is the micro-batch of one process. Rows with
    the same text in the optional column group stay in the same split."""

    task = "embeddings"
    pipeline_tag = "sentence-similarity"
    auto_class = "AutoModel"
    models = {"tfm_encoder": TfmEncoderForTextEmbedding, "tfm_decoder": TfmDecoderForTextEmbedding}
    required_columns = ("anchor", "positive")
    optional_columns = ("negative", "group")
    builtin_dataset = "function_descriptions"
    split_column = "positive"
    # packages differ much in size: with less the validation split of the built-in data has 135 rows
    split_fractions = (0.70, 0.15, 0.15)
    metric_labels = {
        "recall_at_10": "recall@10 among all positives of the split",
        "mrr": "mean reciprocal rank",
        "recall_at_1": "recall@1",
        "loss": "nats per anchor among the texts of a batch (the loss)",
    }
    validation_metric = "mrr"
    length_columns = {"max_length": "input_ids"}
    supports_label_smoothing = False
    # a small vocabulary: the two spellings of a word, in code and in a sentence, then share most of their tokens
    default_arguments = {
        "vocab_size": 1024, "max_length": 64, "per_device_train_batch_size": 128, "per_device_eval_batch_size": 128,
        "max_steps": 150, "eval_steps": 50,
    }  # fmt: skip
    # The built-in texts share words at any position, and are few: no positions, random vectors of words that are large
    # and wide enough to tell words apart before training, and much dropout
    default_config_fields = {
        "hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4, "pooling": "mean",
        "position_type": "none", "initializer_range": 0.1, "hidden_dropout": 0.3, "embedding_dropout": 0.3,
    }  # fmt: skip
    # texts of others need positions
    own_data_config_fields = {
        "hidden_size": 128, "num_hidden_layers": 2, "position_type": "rotary", "initializer_range": 0.02,
    }  # fmt: skip
    peft_task_type = "FEATURE_EXTRACTION"

    def use_columns(self, sources: dict[str, list[str]], types: Features | None = None) -> None:
        super().use_columns(sources, types)
        if "group" in sources:
            self.split_column = "group"

    def text_columns(self) -> tuple[str, ...]:
        return ("anchor", "positive", "negative") if "negative" in self.source_columns else self.required_columns

    def features(self) -> Features:
        return Features({column: Value("string") for column in (*self.text_columns(), *self.group_columns())})

    def group_columns(self) -> tuple[str, ...]:
        return ("group",) if "group" in self.source_columns else ()

    def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        return {column: text_of(row[column], column) for column in (*self.text_columns(), *self.group_columns())}

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which pads short rows")

    def encoder(self, tokenizer: Any) -> Any:
        return partial(
            encode_rows, tokenizer=tokenizer, columns=self.text_columns(), max_length=self.args.max_length,
            long_texts=self.long_texts,
        )  # fmt: skip

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, a list for each text of the row."""
        encode = self.encoder(tokenizer)
        return {
            name: report_truncated(
                map_rows(table, encode, remove=table.column_names, num_proc=num_proc, desc="Tokenising"),
                name,
                "--max_length",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return partial(collate_rows, tokenizer=tokenizer, temperature=self.args.temperature)

    def preprocess_logits(self, logits: Any, labels: Any) -> torch.Tensor:
        """The embeddings (B, 2, C) of anchors and their positives."""
        embeddings = logits[1].float()
        anchors, candidates = embeddings[: len(labels)], embeddings[len(labels) :]
        return torch.stack((anchors, candidates[labels]), dim=1)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        rows, right = unique_candidates(split["positive"][:])

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            anchors, positives = np.asarray(prediction.predictions).transpose(1, 0, 2)
            return retrieval_results(retrieval_ranks(anchors, positives[rows], right))

        return compute

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """TF-IDF, whose weights are those of the searched texts."""
        test = data.splits["test"]
        texts = test["positive"][:]
        rows, right = unique_candidates(texts)
        ranks = tfidf_ranks(test["anchor"][:], [texts[row] for row in rows], right)
        return {f"TF-IDF of {name}": retrieval_results(found)["recall_at_10"] for name, found in ranks.items()}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        table = data.splits["test"]
        candidates = list(dict.fromkeys(table["positive"][:SAMPLE_CANDIDATES]))
        if prompts:
            return [{"anchor": prompt, "candidates": candidates} for prompt in prompts]
        return [
            row | {"candidates": [row["positive"], *(text for text in candidates if text != row["positive"])]}
            for row in short_test_rows(data, 3)
        ]

    def format_input(self, sample_input: dict[str, Any]) -> str:
        return f"{sample_input['anchor']} (nearest of {len(sample_input['candidates'])} texts)"

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return sample_input.get("positive")

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        candidates = sample_input["candidates"]
        encoded = tokenizer(
            [sample_input["anchor"], *candidates], truncation=True, max_length=self.args.max_length, padding=True,
            return_token_type_ids=False, return_tensors="pt",
        )  # fmt: skip
        embeddings = forward_in_eval_mode(model, dict(encoded)).pooler_output
        return candidates[int((embeddings[1:] @ embeddings[0]).argmax())]

    def model_files(self) -> dict[str, Any]:
        """sentence-transformers reads the embedding of the head, which is pooled and has unit length."""
        transformer = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
        text = {"method": "forward", "method_output_name": "pooler_output"}
        return {
            "modules.json": [transformer],
            "sentence_bert_config.json": {
                "transformer_task": "feature-extraction",
                "modality_config": {"text": text},
                "module_output_name": "sentence_embedding",
            },
            "config_sentence_transformers.json": {
                "model_type": "SentenceTransformer", "prompts": {}, "default_prompt_name": None,
                "similarity_fn_name": "cosine",
            },
        }  # fmt: skip

    def inspected_text(self, tokenizer: Any, sample_input: dict[str, Any], output: str) -> dict[str, Any]:
        return {"text": sample_input["anchor"]}

    def usage_snippet(self, checkpoint: str, sample_input: dict[str, Any]) -> str:
        texts = python_literal([sample_input["anchor"], *sample_input["candidates"][:2]])
        return "\n".join(
            [
                "from transformers import AutoModel, AutoTokenizer",
                f"tokenizer = AutoTokenizer.from_pretrained({checkpoint})",
                f"model = AutoModel.from_pretrained({checkpoint})",
                f"texts = {texts}",
                'embeddings = model(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output',
                "print(embeddings[1:] @ embeddings[0])",
                f"# or: sentence_transformers.SentenceTransformer({checkpoint}).encode(texts)",
            ]
        )


def encode_rows(
    batch: dict[str, list[str]], tokenizer: Any, columns: tuple[str, ...], max_length: int, long_texts: str
) -> dict[str, Any]:
    """The token ids of every text of a row."""
    texts = [list(batch[name]) for name in columns]
    encoded = [tokenize_within(tokenizer, column, None, max_length, long_texts, "--max_length") for column in texts]
    return {
        "input_ids": [list(row) for row in zip(*(column["input_ids"] for column in encoded), strict=True)],
        "truncated": [any(row) for row in zip(*(column["truncated"] for column in encoded), strict=True)],
    }


def collate_rows(examples: list[Any], tokenizer: Any, temperature: float) -> dict[str, Any]:
    """A batch of all anchors, then all candidates: the positives, then the negatives. Equal candidates are one, since a
    text that belongs to two anchors would be a negative of both. `labels` (B,): the candidate that is each positive."""
    anchors, *others = zip(*(example["input_ids"] for example in examples), strict=True)
    candidates = dict.fromkeys(map(tuple, chain(*others)))
    number = {ids: index for index, ids in enumerate(candidates)}
    ids = [*anchors, *map(list, candidates)]
    batch = pad_without_fast_tokenizer_warning(tokenizer, {"input_ids": ids}, return_tensors="pt")
    labels = torch.tensor([number[tuple(positive)] for positive in others[0]])
    return {**batch, "labels": labels, "temperature": temperature}
