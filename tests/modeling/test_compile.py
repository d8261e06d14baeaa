"""torch.compile: one graph, the numbers of eager mode, and no graph per length.

Kernels cost seconds each and are cached by their text: all models here have the same sizes, so that they share them,
and kernels are scalar, which compile sooner.
"""

import pytest
import torch
import torch._inductor.config
from torch._dynamo.testing import CompileCounterWithBackend

from hf_tfm.modeling.block import WIRINGS
from hf_tfm.modeling.position import POSITIONS
from tests.grid import TRUNKS, assert_same, ids, logits_of, make, needs_compiler
from tests.modeling.test_export import turned

pytestmark = needs_compiler

ROWS, LENGTH = 2, 6


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.simdlen": 1}):
        yield
    torch._dynamo.reset()


def tiny(architecture, **words):
    """Two blocks in all."""
    layers = 1 if architecture == "seq2seq" else 2
    return make(architecture, num_hidden_layers=layers, **words)


def compiled(model, backend, dynamic=False):
    """The model in one graph, and the counter of its graphs."""
    counter = CompileCounterWithBackend(backend)
    return torch.compile(model, backend=counter, fullgraph=True, dynamic=dynamic), counter


def assert_forward_equals_eager(model):
    fast, counter = compiled(model, "inductor")
    tokens = ids(ROWS, LENGTH)
    assert_same(logits_of(fast, tokens), logits_of(model, tokens), what="compiled logits")
    assert counter.frame_count == 1


def gradients(model, run, batch):
    model.zero_grad()
    loss = run(**batch).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_step_equals_eager(model, backend):
    fast, counter = compiled(model, backend)
    tokens = ids(ROWS, LENGTH)
    batch = {"input_ids": tokens, "labels": tokens}
    loss, wanted = gradients(model, model, batch)
    again, found = gradients(model, fast, batch)
    assert_same(again, loss, what="compiled loss")
    for name, gradient in wanted.items():
        assert_same(found[name], gradient, 1e-4, f"gradient of {name}")
    assert counter.frame_count == 1


# Every architecture meets every wiring, every architecture every position; beside them words that pair up in turn.
CASES = [
    (architecture, wiring, position)
    for turn, architecture in enumerate(TRUNKS)
    for wiring, position in zip(WIRINGS, turned(POSITIONS, 2 * turn), strict=False)
]
OTHERS = {
    "pre": {"norm_type": "layer_norm", "qk_norm": "head"},
    "post": {"mlp_type": "plain", "hidden_act": "relu"},
    "inner": {"norm_type": "rms_norm", "num_key_value_heads": 2},
    "sandwich": {"norm_type": "layer_norm", "sliding_window": 4},
    "parallel": {"norm_type": "layer_norm", "mlp_type": "plain"},
    "parallel_two_norms": {"depth_scaling": "scaled", "residual_scale": 0.5},
}


def cases(daily):
    """All cases; those that `daily(number)` leaves out run with the grid."""
    marks = [[] if daily(number) else [pytest.mark.grid] for number in range(len(CASES))]
    params = [pytest.param(*case, marks=mark) for case, mark in zip(CASES, marks, strict=True)]
    return pytest.mark.parametrize(("architecture", "wiring", "position"), params)


@cases(lambda number: True)
def test_a_compiled_forward_equals_eager(architecture, wiring, position):
    assert_forward_equals_eager(tiny(architecture, residual_type=wiring, position_type=position))


# every wiring once, the architectures in turn
@cases(lambda number: number % 7 in (0, 3))
def test_a_traced_step_equals_eager(architecture, wiring, position):
    words = {"residual_type": wiring, "position_type": position, **OTHERS[wiring]}
    assert_step_equals_eager(tiny(architecture, **words), "aot_eager")


@pytest.mark.parametrize("architecture", TRUNKS)
def test_a_compiled_step_equals_eager(architecture):
    assert_step_equals_eager(tiny(architecture, position_type="learned", mlp_type="plain"), "inductor")


@pytest.mark.parametrize("architecture", ["encoder", "decoder", pytest.param("seq2seq", marks=pytest.mark.grid)])
def test_a_traced_step_of_grouped_experts_equals_eager(architecture):
    model = tiny(architecture, mlp_type="moe", num_experts=4, shared_expert_intermediate_size=16)
    assert model.config._experts_implementation == "grouped_mm"
    assert_step_equals_eager(model, "aot_eager")


def test_a_compiled_forward_of_grouped_experts_equals_eager():
    assert_forward_equals_eager(tiny("decoder", position_type="none", mlp_type="moe", num_experts=4))


@cases(lambda number: number in (2, 8, 15))
def test_one_dynamic_graph_serves_all_lengths(architecture, wiring, position):
    model = tiny(architecture, residual_type=wiring, position_type=position)
    fast, counter = compiled(model, "eager", dynamic=True)
    # none as long as the six targets: equal sizes would be traced as one
    for length in (7, 10, 13):
        tokens = ids(ROWS, length)
        assert_same(logits_of(fast, tokens), logits_of(model, tokens), what=f"logits of {length} tokens")
    assert counter.frame_count == 1
