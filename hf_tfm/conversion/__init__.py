"""Native Hugging Face families to our models and back, with equal numbers.

A family is one table of rows and one mapping of fields, each read in both directions. The room knows the floor and the
host; it changes neither."""

from .convert import from_native, to_native
from .rows import ConversionError

__all__ = ["ConversionError", "from_native", "to_native"]
