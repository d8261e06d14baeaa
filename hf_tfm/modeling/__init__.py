"""The modeling code: exactly what is saved with a checkpoint, and nothing else.

Flat files that import each other as `from .name`, torch, transformers, huggingface_hub and the standard library. They
use no tool of the package and no optional dependency."""
