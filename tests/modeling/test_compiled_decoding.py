"""Decoding with a static cache compiles once for all tokens and gives the same text as the dynamic cache."""

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig

from tests.grid import ids, make, needs_compiler

pytestmark = needs_compiler

TINY = {"num_hidden_layers": 2}
MIXED = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}


@pytest.fixture(autouse=True)
def _reset_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


# name -> configuration fields, number of graphs allowed. A sliding static cache counts tokens in a Python int: one
# graph for its first value, then one or two for all others (window full or not), as for Mistral, Gemma-2 and T5Gemma.
CASES = {
    "none": ({"position_type": "none", "attention_output_gate": "channel", "value_residual": True}, 1),
    "learned": ({"position_type": "learned"}, 1),
    "rotary": ({"query_temperature": 0.5, "query_temperature_length": 3}, 1),
    "alibi": ({"position_type": "alibi"}, 1),
    "relative_bias": ({"position_type": "relative_bias"}, 1),
    "experts": ({"mlp_type": "moe"}, 1),
    "mixed_rotary": (MIXED, 3),
    "mixed_alibi": ({**MIXED, "position_type": "alibi"}, 3),
}


def generate(model, prompt, new, **settings):
    text = model.generate(**prompt, max_new_tokens=new, min_new_tokens=new, do_sample=False, **settings)
    return text.tolist()


@pytest.mark.parametrize(
    ("architecture", "case"),
    [("decoder", case) for case in CASES]
    + [
        pytest.param("seq2seq", case, marks=[] if case in ("rotary", "alibi", "mixed_alibi") else [pytest.mark.grid])
        for case in CASES
    ],
)
def test_static_decoding_compiles_once_for_all_tokens(architecture, case):
    fields, allowed = CASES[case]
    model = make(architecture, **fields, **TINY)
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[0, :3] = 0
    prompt = {"input_ids": ids(2, 7), "attention_mask": mask}
    wanted = generate(model, prompt, 20)
    config = CompileConfig(backend="eager", fullgraph=True, mode=None)
    config._compile_all_devices = True
    for _ in range(2):
        assert generate(model, prompt, 20, cache_implementation="static", compile_config=config) == wanted
    assert 1 <= counters["stats"]["unique_graphs"] <= allowed, dict(counters["stats"])
