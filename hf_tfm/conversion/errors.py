"""The error that every part of the conversion raises."""

__all__ = ["ConversionError"]


class ConversionError(ValueError):
    """A checkpoint or configuration has no equivalent in the target format."""
