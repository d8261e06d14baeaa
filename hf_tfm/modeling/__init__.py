"""The floor: exactly what travels with a checkpoint, and nothing else.

Flat siblings that import each other as `from .name`, torch, transformers and the standard library. It knows no tool
of the package, and no optional dependency."""
