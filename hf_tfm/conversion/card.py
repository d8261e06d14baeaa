"""The card of a converted checkpoint: what the source's card says of licence and language, and lines that load it."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers.utils.hub import cached_file

from hf_tfm.usage import checkpoint_arguments, loading_lines, name_and_revision

__all__ = ["CARD", "converted_card"]

CARD = "README.md"
# what holds for the same weights in another class
KEPT = ("license", "license_name", "license_link", "language", "datasets", "pipeline_tag", "base_model")


def converted_card(source: str, destination: Path, lines: list[str], library: str) -> str:
    """The card of what was written to `destination`. `lines`: what to know of its weights."""
    is_folder = Path(source).exists()
    fields = json.loads((destination / "config.json").read_text(encoding="utf-8"))
    data = ModelCardData(library_name=library, **kept_metadata(source))
    if not is_folder:
        data.base_model = source
    if "auto_map" in fields:
        data.tags = ["hf_tfm"]
    name, origin = destination.resolve().name, Path(source).resolve().name if is_folder else source
    facts = "\n".join(f"- {line}" for line in lines)
    use = f"## Use\n\n```python\n{usage(fields, destination, name, library)}\n```"
    text = f"# {name}\n\nConverted from {origin} by `hf-tfm convert`.\n\n{facts}\n\n{use}"
    return f"---\n{data.to_yaml()}\n---\n\n{text}\n"


def usage(fields: dict[str, Any], destination: Path, name: str, library: str) -> str:
    """Python that loads the checkpoint by the name of its folder, which `hf-tfm push` replaces by that on the Hub."""
    if library == "transformers":
        return loading_lines(fields, [file.name for file in destination.iterdir()], name)
    arguments = (checkpoint_arguments if "auto_map" in fields else name_and_revision)(name, None)
    return f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({arguments})"


def kept_metadata(source: str) -> dict[str, Any]:
    """What of the metadata of a checkpoint's card holds after conversion; nothing without a card that can be read."""
    try:
        found = cached_file(source, CARD, _raise_exceptions_for_missing_entries=False)
        data = ModelCard.load(found).data if found else ModelCardData()
    except (OSError, ValueError):
        return {}
    return {key: value for key in KEPT if (value := getattr(data, key, None)) is not None}
