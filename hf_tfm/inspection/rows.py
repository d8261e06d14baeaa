"""One row of a batch by itself, without its padding."""

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["split_rows"]

# argument -> the mask that says which of its columns are padding
MASKS = {
    **dict.fromkeys(("input_ids", "attention_mask", "token_type_ids", "position_ids"), "attention_mask"),
    **dict.fromkeys(("decoder_input_ids", "decoder_attention_mask", "decoder_position_ids"), "decoder_attention_mask"),
}


def split_rows(model: Any, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keyword arguments (1, T) for each row of `inputs`, on the model's device. Masks stay, all ones: poolings read
    them.

    Raises ValueError for an argument that is none of MASKS, without input ids, or for a mask with padding between real
    tokens or without any."""
    given = {name: value for name, value in inputs.items() if value is not None}
    if "input_ids" not in given:
        raise ValueError(f"An inspection needs input_ids (batch, tokens); got {', '.join(given) or 'no input'}.")
    unknown = [name for name, value in given.items() if name not in MASKS or getattr(value, "dim", int)() != 2]
    if unknown:
        raise ValueError(
            f"An inspection takes tensors (batch, tokens) by the names {', '.join(MASKS)}; leave out "
            f"{', '.join(unknown)}."
        )
    given = {name: value.to(model.device) for name, value in given.items()}
    return [
        {name: value[row : row + 1, real_columns(given, MASKS[name], row)] for name, value in given.items()}
        for row in range(len(given["input_ids"]))
    ]


def real_columns(given: dict[str, Any], mask: str, row: int) -> slice:
    """The columns of a row's real tokens."""
    if mask not in given:
        return slice(None)
    real = torch.nonzero(given[mask][row])[:, 0]
    if not len(real):
        raise ValueError(f"Row {row} of {mask} holds no real token; leave the row out.")
    columns = slice(int(real[0]), int(real[-1]) + 1)
    if columns.stop - columns.start != len(real):
        raise ValueError(
            f"Row {row} of {mask} has padding between real tokens; give padding at the beginning or the end only."
        )
    return columns
