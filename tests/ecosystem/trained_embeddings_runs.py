"""What `test_trained_embeddings.py` runs in processes of their own."""

from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

TEXTS = ["The sky number 3 is yellow.", "It is blue today", "x"]


def encode(checkpoints: Any) -> Any:
    """The vectors of sentence-transformers, and those of the model itself."""
    opened = SentenceTransformer(checkpoints.folder("embedder"), device="cpu", **checkpoints.options)
    model, tokenizer = (checkpoints.load(auto, "embedder") for auto in (AutoModel, AutoTokenizer))
    expected = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output
    return {
        "encoded": opened.encode(TEXTS).tolist(),
        "expected": expected.tolist(),
        "limit": opened.max_seq_length,
        "module": type(model).__module__.partition(".")[0],
    }
