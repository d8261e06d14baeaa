"""One self-contained HTML page from a report: the files of `web/`, filled with data.

The page opens from the disk without a network, and its Content-Security-Policy forbids every request and every script
but its own. Attention maps lie in it as one inert block for each layer, which is decoded when it is looked at.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .compressed_maps import CompressedMap, compress_map, kept_keys
from .plain_values import plain
from .report import AttentionMaps, Report

__all__ = ["MAX_BYTES", "render_page", "write_page"]

WEB = Path(__file__).with_name("web")
SCRIPTS = (
    "decode.js", "dom.js", "colors.js", "selection.js", "widgets.js", "charts.js", "view_prediction.js", "view_lens.js",
    "view_attribution.js", "matrix.js", "view_attention.js", "view_heads.js", "view_patching.js",
    "view_stream.js", "view_positions.js", "view_costs.js", "start.js",
)  # fmt: skip
# size of a page of 512 tokens x 12 layers x 12 heads
MAX_BYTES = 15_000_000
# up to here every weight is kept with 16 bits
FINE_BYTES = 4_000_000
THUMBNAIL = 64


class ArrayStore:
    """All arrays but the attention maps, behind each other in one buffer of float32, int32 and uint8."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def add(self, array: np.ndarray) -> dict[str, Any]:
        """Where the page finds the array."""
        kind = {"f": "f4", "i": "i4", "u": "u1", "b": "u1"}[array.dtype.kind]
        offset = len(self.buffer)
        self.buffer += np.ascontiguousarray(array).astype(f"<{kind}").tobytes()
        self.buffer += bytes(-len(self.buffer) % 4)
        return {"array": kind, "offset": offset, "shape": list(array.shape)}

    def add_labels(self, labels: list, vocabulary: dict[str, int]) -> dict[str, Any]:
        """Nested lists of texts, each text stored once."""
        return self.add(np.array(plain_indices(labels, vocabulary), dtype=np.int32))


def plain_indices(labels: Any, vocabulary: dict[str, int]) -> Any:
    if isinstance(labels, str):
        return vocabulary.setdefault(labels, len(vocabulary))
    return [plain_indices(item, vocabulary) for item in labels]


def thumbnails(maps: AttentionMaps) -> np.ndarray:
    """Largest weight of each of at most 64 x 64 cells, (L, H, 64, 64) uint8 of its square root. A mean would erase a
    diagonal."""
    pooled = maps.weights
    for axis in (2, 3):
        length = pooled.shape[axis]
        starts = np.unique(np.arange(min(length, THUMBNAIL)) * length // min(length, THUMBNAIL))
        pooled = np.maximum.reduceat(pooled, starts, axis=axis)
    return np.rint(np.sqrt(pooled.clip(0, 1)) * 255).astype(np.uint8)


def describe_maps(maps: AttentionMaps, store: ArrayStore) -> dict[str, Any]:
    """What the page knows of the maps before it decodes one."""
    sums = maps.weights.sum(-1, dtype=np.float64) + maps.missing
    return {
        "stack": maps.stack,
        "kind": maps.kind,
        "queries": maps.queries,
        "keys": maps.keys,
        "layers": list(maps.layers),
        "shape": list(maps.weights.shape),
        "sum_gap": float(np.abs(sums - 1).max(initial=0)),
        "missing": store.add(maps.missing) if maps.missing.any() else None,
        "value_norms": store.add(maps.value_norms),
        "thumbnails": store.add(thumbnails(maps)),
    }


def base64_deflate(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode()


def escaped_json(value: Any) -> str:
    """JSON that cannot end the script element that holds it, whatever the tokens say."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def layer_block(maps: AttentionMaps, layer: int, kept: int, fine: bool) -> tuple[list[CompressedMap], bytes]:
    """The heads of one layer and, behind each other, the mask and the heads as zlib streams."""
    visible = maps.visible[layer]
    mask = zlib.compress(np.packbits(visible, bitorder="little").tobytes(), 6)
    heads = [compress_map(weights.astype(np.float32), visible, kept, fine) for weights in maps.weights[layer]]
    return heads, len(mask).to_bytes(4, "little") + mask + b"".join(head.data for head in heads)


def attention_blocks(report: Report, budget: int) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """For every map and layer what decodes it, and the script elements that hold the data. `budget`: bytes that all of
    them may take."""
    rows = sum(int(np.prod(maps.weights.shape[:3])) for maps in report.attention)
    fine = sum(maps.weights.size for maps in report.attention) * 2 * 4 / 3 <= FINE_BYTES
    found, elements = [], []
    for index, maps in enumerate(report.attention):
        kept = 0 if fine else kept_keys(rows, maps.weights.shape[-1], budget)
        layers = []
        for layer in range(maps.weights.shape[0]):
            heads, data = layer_block(maps, layer, kept, fine)
            layers.append(
                {
                    "code": [head.code for head in heads],
                    "kept": kept,
                    "error": [head.error for head in heads],
                    "bytes": [len(head.data) for head in heads],
                }
            )
            encoded = base64.b64encode(data).decode()
            elements.append(
                f'<script type="application/octet-stream" id="attention-{index}-{layer}">{encoded}</script>'
            )
        found.append(layers)
    return found, elements


def page_data(report: Report) -> tuple[dict[str, Any], ArrayStore]:
    """Everything but the weights of attention."""
    store, vocabulary = ArrayStore(), {}
    others = {name: value for name, value in vars(report).items() if name != "attention"}
    data = {name: plain(value, store.add) for name, value in others.items()}
    for name in ("prediction", "lens"):
        if data[name] is not None:
            data[name]["labels"] = store.add_labels(getattr(report, name).labels, vocabulary)
    data["attention"] = [describe_maps(maps, store) for maps in report.attention]
    data["vocabulary"] = list(vocabulary)
    return data, store


def content_security_policy(style: str, script: str) -> str:
    """No request at all; only this style and this script, by their hashes."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def render_page(report: Report) -> str:
    """The page as text: at most 15,000,000 bytes, the same bytes for the same report. Raises ValueError if the report
    does not fit."""
    style = (WEB / "page.css").read_text(encoding="utf-8")
    script = "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS)
    data, store = page_data(report)
    arrays = base64_deflate(bytes(store.buffer))
    template = (WEB / "page.html").read_text(encoding="utf-8")
    # what the blocks' own descriptions take is small: 40 bytes a head
    used = len(arrays) + len(escaped_json(data)) + len(style) + len(script) + len(template)
    used += 200 * sum(maps.weights.shape[0] * (1 + maps.weights.shape[1]) for maps in report.attention)
    layers, elements = attention_blocks(report, MAX_BYTES - used)
    for described, found in zip(data["attention"], layers, strict=True):
        described["blocks"] = found
    parts = {
        "title": html.escape(f"Inside {report.title}"),
        "policy": content_security_policy(style, script),
        "style": style,
        "report": escaped_json(data),
        "arrays": arrays,
        "attention": "\n".join(elements),
        "script": script,
    }
    # one pass, so that nothing that is filled in is read as a place to fill
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def write_page(report: Report, path: str | Path) -> None:
    """Writes `render_page(report)` to `path`."""
    Path(path).write_bytes(render_page(report).encode("utf-8"))
