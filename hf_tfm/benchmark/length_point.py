"""One measured point of `hf-tfm bench length`, in a process of its own so that its peak of memory is its own:
`python -m hf_tfm.benchmark.length_point '{"length": 1024}'` prints one line of JSON."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from hf_tfm.modeling.configuration_tfm import TfmDecoderConfig
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM

from .resident import peak_bytes

__all__ = ["Point", "decoder", "measure"]


@dataclass(frozen=True)
class Point:
    """A decoder and a row of tokens. Sizes count elements or tokens; `window` is used by sliding attention only.
    `implementation` None: sdpa, for sliding layers by bands."""

    length: int = 1024
    attention: Literal["full", "sliding"] = "full"
    window: int = 512
    hidden_size: int = 64
    layers: int = 4
    heads: int = 4
    vocab_size: int = 1024
    implementation: str | None = None


IMPLEMENTATIONS = {"full": "sdpa", "sliding": "sdpa_banded"}


def decoder(point: Point) -> TfmDecoderForCausalLM:
    """The point's decoder with random weights that are the same in every process."""
    torch.manual_seed(0)
    config = TfmDecoderConfig(
        vocab_size=point.vocab_size,
        hidden_size=point.hidden_size,
        num_hidden_layers=point.layers,
        num_attention_heads=point.heads,
        max_position_embeddings=point.length,
        sliding_window=point.window if point.attention == "sliding" else None,
    )
    model = TfmDecoderForCausalLM(config)
    model.set_attn_implementation(point.implementation or IMPLEMENTATIONS[point.attention])
    return model


def measure(point: Point) -> dict[str, Any]:
    """Bytes and seconds of one forward and backward pass with gradient checkpointing over one row.

    `idle_bytes` is the peak after imports and building the model, `peak_bytes` that of everything."""
    model = decoder(point).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    row = torch.randint(point.vocab_size, (1, point.length))
    idle = peak_bytes()
    started = time.perf_counter()
    loss = model(row, labels=row, use_cache=False).loss
    loss.backward()
    seconds = time.perf_counter() - started
    gradients = [parameter.grad for parameter in model.parameters()]
    finite = all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    return {
        **asdict(point),
        "seconds": seconds,
        "idle_bytes": idle,
        "peak_bytes": peak_bytes(),
        "loss": loss.item(),
        "finite": finite,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Point(**json.loads(sys.argv[1])))))
