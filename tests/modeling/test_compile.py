"""torch.compile: the model is one graph, equals eager mode, and one dynamic graph serves all lengths.

A C++ kernel takes seconds to compile and is cached by its source: all models here have the same sizes, so that they
share kernels, and kernels are scalar, which compile faster.
"""

import pytest
import torch
import torch._inductor.config
from torch._dynamo.testing import CompileCounterWithBackend

from hf_tfm.modeling.block import WIRINGS
from hf_tfm.modeling.position import POSITIONS
from tests.grid import LANGUAGE_MODELS, assert_same, ids, logits_of, make, needs_compiler
from tests.modeling.test_export import starting_at

pytestmark = needs_compiler

ROWS, LENGTH = 2, 6


@pytest.fixture(autouse=True)
def _reset_compiler():
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.simdlen": 1}):
        yield
    torch._dynamo.reset()


def make_two_blocks(architecture, **fields):
    """A model of two blocks: one per stack of an encoder-decoder."""
    layers = 1 if architecture == "seq2seq" else 2
    return make(architecture, num_hidden_layers=layers, **fields)


def compile_and_count(model, backend, dynamic=False):
    """The compiled model, and the counter of its graphs."""
    counter = CompileCounterWithBackend(backend)
    return torch.compile(model, backend=counter, fullgraph=True, dynamic=dynamic), counter


def assert_forward_equals_eager(model):
    fast, counter = compile_and_count(model, "inductor")
    tokens = ids(ROWS, LENGTH)
    assert_same(logits_of(fast, tokens), logits_of(model, tokens), what="compiled logits")
    assert counter.frame_count == 1


def gradients(model, run, batch):
    model.zero_grad()
    loss = run(**batch).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_step_equals_eager(model, backend):
    fast, counter = compile_and_count(model, backend)
    tokens = ids(ROWS, LENGTH)
    batch = {"input_ids": tokens, "labels": tokens}
    loss, wanted = gradients(model, model, batch)
    again, found = gradients(model, fast, batch)
    assert_same(again, loss, what="compiled loss")
    for name, gradient in wanted.items():
        assert_same(found[name], gradient, 1e-4, f"gradient of {name}")
    assert counter.frame_count == 1


# Each architecture with each wiring and each position type, not with each pair of them
CASES = [
    (architecture, wiring, position)
    for number, architecture in enumerate(LANGUAGE_MODELS)
    for wiring, position in zip(WIRINGS, starting_at(POSITIONS, 2 * number), strict=False)
]
# wiring -> other fields tested with it
OTHER_FIELDS = {
    "pre": {"norm_type": "layer_norm", "qk_norm": "head"},
    "post": {"mlp_type": "plain", "hidden_act": "relu"},
    "inner": {"norm_type": "rms_norm", "num_key_value_heads": 2, "attention_output_gate": "head"},
    "sandwich": {"norm_type": "layer_norm", "sliding_window": 4},
    "parallel": {"norm_type": "layer_norm", "mlp_type": "plain"},
    "parallel_two_norms": {"depth_scaling": "scaled", "residual_scale": 0.5, "value_residual": True},
}


def cases(runs_by_default):
    """All cases; those with a false `runs_by_default(number)` run with -m grid only."""
    marks = [[] if runs_by_default(number) else [pytest.mark.grid] for number in range(len(CASES))]
    params = [pytest.param(*case, marks=mark) for case, mark in zip(CASES, marks, strict=True)]
    return pytest.mark.parametrize(("architecture", "wiring", "position"), params)


@cases(lambda number: True)
def test_compiled_forward_equals_eager(architecture, wiring, position):
    assert_forward_equals_eager(make_two_blocks(architecture, residual_type=wiring, position_type=position))


# each wiring once
@cases(lambda number: number % 7 in (0, 3))
def test_traced_training_step_equals_eager(architecture, wiring, position):
    fields = {"residual_type": wiring, "position_type": position, **OTHER_FIELDS[wiring]}
    assert_step_equals_eager(make_two_blocks(architecture, **fields), "aot_eager")


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_compiled_training_step_equals_eager(architecture):
    assert_step_equals_eager(make_two_blocks(architecture, position_type="learned", mlp_type="plain"), "inductor")


@pytest.mark.parametrize("architecture", ["encoder", "decoder", pytest.param("seq2seq", marks=pytest.mark.grid)])
def test_traced_training_step_with_grouped_experts_equals_eager(architecture):
    model = make_two_blocks(architecture, mlp_type="moe", num_experts=4, shared_expert_intermediate_size=16)
    assert model.config._experts_implementation == "grouped_mm"
    assert_step_equals_eager(model, "aot_eager")


def test_compiled_forward_with_grouped_experts_equals_eager():
    assert_forward_equals_eager(make_two_blocks("decoder", position_type="none", mlp_type="moe", num_experts=4))


@cases(lambda number: number in (2, 8, 15))
def test_one_dynamic_graph_serves_all_lengths(architecture, wiring, position):
    model = make_two_blocks(architecture, residual_type=wiring, position_type=position)
    fast, counter = compile_and_count(model, "eager", dynamic=True)
    # no length is 6, the number of decoder tokens: torch would trace equal sizes as one variable
    for length in (7, 10, 13):
        tokens = ids(ROWS, length)
        assert_same(logits_of(fast, tokens), logits_of(model, tokens), what=f"logits of {length} tokens")
    assert counter.frame_count == 1
