"""What `test_sentence_transformers.py` runs in processes of their own."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

TEXTS = ["the quick brown fox", "one", "a model reads words and writes more words, and then it reads them again"]


def vectors(checkpoints: Any, name: str) -> dict[str, Any]:
    """The vectors of texts by a checkpoint without files of sentence-transformers, and after saving and loading; the
    class of the model."""
    model = SentenceTransformer(checkpoints.folder(name), device="cpu", **checkpoints.options)
    found = model.encode(TEXTS)
    folder = str(Path(checkpoints.workplace) / name)
    model.save(folder)
    again = SentenceTransformer(folder, device="cpu", **checkpoints.options)
    return {
        "vectors": found.tolist(), "again": again.encode(TEXTS).tolist(), "class": type(model[0].model).__name__,
    }  # fmt: skip


def encoder(checkpoints: Any) -> dict[str, Any]:
    return vectors(checkpoints, "bert")


def decoder(checkpoints: Any) -> dict[str, Any]:
    return vectors(checkpoints, "llama")


def encoder_of_encoder_decoder(checkpoints: Any) -> dict[str, Any]:
    return vectors(checkpoints, "t5_encoder")
