"""Measure one sequence length for `hf-tfm bench length`, in a process that has run nothing else:
`python -m hf_tfm.benchmark.tools.length_worker '{"length": 1024}'` prints one line of JSON."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from hf_tfm.modeling.configuration_tfm import TfmDecoderConfig
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM

from ..harness.memory_usage import peak_resident_bytes

__all__ = ["LengthSettings", "build_decoder", "measure_length"]


@dataclass(frozen=True)
class LengthSettings:
    """A decoder and the length of one sequence. Sizes in elements or tokens; `sliding_window` is for sliding attention
    only. `attn_implementation` None: that of DEFAULT_IMPLEMENTATIONS."""

    length: int = 1024
    attention: Literal["full", "sliding"] = "full"
    sliding_window: int = 512
    hidden_size: int = 64
    layers: int = 4
    heads: int = 4
    vocab_size: int = 1024
    attn_implementation: str | None = None


DEFAULT_IMPLEMENTATIONS = {"full": "sdpa", "sliding": "sdpa_sliding_window"}


def build_decoder(settings: LengthSettings) -> TfmDecoderForCausalLM:
    """A decoder with random weights, which are the same in every process."""
    torch.manual_seed(0)
    config = TfmDecoderConfig(
        vocab_size=settings.vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.length,
        sliding_window=settings.sliding_window if settings.attention == "sliding" else None,
    )
    model = TfmDecoderForCausalLM(config)
    model.set_attn_implementation(settings.attn_implementation or DEFAULT_IMPLEMENTATIONS[settings.attention])
    return model


def measure_length(settings: LengthSettings) -> dict[str, Any]:
    """Bytes and seconds of one forward and backward pass with gradient checkpointing over one sequence.

    `idle_bytes`: the peak after imports and building the model. `peak_bytes`: the peak of everything."""
    model = build_decoder(settings).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(settings.vocab_size, (1, settings.length))
    idle_bytes = peak_resident_bytes()
    started = time.perf_counter()
    loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    seconds = time.perf_counter() - started
    gradients = [parameter.grad for parameter in model.parameters()]
    finite = all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    return {
        **asdict(settings),
        "seconds": seconds,
        "idle_bytes": idle_bytes,
        "peak_bytes": peak_resident_bytes(),
        "loss": loss.item(),
        "finite": finite,
    }


if __name__ == "__main__":
    print(json.dumps(measure_length(LengthSettings(**json.loads(sys.argv[1])))))
