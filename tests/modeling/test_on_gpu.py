"""On a GPU: unpadding with torch's variable-length attention, the fused loss, compiled models and generation. In half
precision the error against single precision may be about that of the padded batch."""

import copy

import pytest
import torch
from transformers import DynamicCache

from hf_tfm.modeling import fused_linear_cross_entropy, varlen_attention
from hf_tfm.modeling.head_parts import LMHead
from tests.grid import assert_same, ids, make
from tests.modeling.padded_batches import LEFT, LENGTHS, MIXED, batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

VARIANTS = {
    "rotary": {},
    "learned": {"position_type": "learned"},
    "grouped": {"num_key_value_heads": 2, "qk_norm": "head"},
    "one key for all": {"num_key_value_heads": 1},
    "sliding": {"sliding_window": 4},
    "some layers slide": {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 3},
    "scaled": {"attention_scale": 0.5, "head_dim": 16},
}


@pytest.fixture
def varlen_calls(monkeypatch):
    """The number of query tokens of each call of torch's variable-length kernel."""
    calls = []
    kernel = varlen_attention.VARLEN_ATTN

    def recording(query, *rest, **more):
        calls.append(query.shape[0])
        return kernel(query, *rest, **more)

    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", recording)
    return calls


def to_gpu(values):
    return {name: value.cuda() if torch.is_tensor(value) else value for name, value in values.items()}


def forward_backward(model, inputs, mask, dtype, padding_free):
    """Loss, logits at real tokens and all gradients as one vector, in double precision."""
    model = copy.deepcopy(model).to(dtype)
    model.config.padding_free = padding_free
    outputs = model(**inputs)
    outputs.loss.backward()
    gradients = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    found = {"loss": outputs.loss, "logits": outputs.logits[mask.bool()], "gradients": gradients}
    return {name: value.detach().double() for name, value in found.items()}


def relative_error(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


def assert_rounding_only(found, plain, exact):
    """Fails if the error of `found` is more than twice the error of `plain`, plus 1e-3."""
    for name, wanted in exact.items():
        gap, allowed = relative_error(found[name], wanted), 2 * relative_error(plain[name], wanted) + 1e-3
        assert gap < allowed, f"{name}: relative error {gap:.1e}, {allowed:.1e} allowed"


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_unpadded_half_precision_is_as_exact_as_padded(architecture, fields, dtype, varlen_calls):
    model = make(architecture, **{"num_hidden_layers": 4, **fields}).cuda()
    inputs, mask = batch(architecture, MIXED)
    inputs = to_gpu(inputs)
    exact = forward_backward(model, inputs, mask, torch.float32, False)
    plain = forward_backward(model, inputs, mask, dtype, False)
    assert not varlen_calls
    assert_rounding_only(forward_backward(model, inputs, mask, dtype, True), plain, exact)
    assert sum(LENGTHS) in varlen_calls, "the kernel was not called"


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_unpadded_autocast_is_as_exact_as_padded(architecture, varlen_calls):
    """Under autocast the rotary embedding returns queries in single precision."""
    model = make(architecture).cuda()
    inputs, mask = batch(architecture, MIXED)
    inputs = to_gpu(inputs)
    exact = forward_backward(model, inputs, mask, torch.float32, False)
    with torch.autocast("cuda", torch.bfloat16):
        plain, found = (
            forward_backward(model, inputs, mask, torch.float32, padding_free) for padding_free in (False, True)
        )
    assert_rounding_only(found, plain, exact)
    assert varlen_calls


@pytest.mark.parametrize("fields", [{"position_type": "alibi"}, {"head_dim": 12}])
def test_unsupported_attention_stays_padded(fields, varlen_calls):
    model = make("encoder", **fields).cuda().bfloat16()
    inputs, _ = batch("encoder", MIXED)
    assert model(**to_gpu(inputs)).logits.isfinite().all()
    assert not varlen_calls


def test_no_token_sees_the_future(varlen_calls):
    model = make("decoder").cuda().bfloat16()
    inputs = to_gpu({"input_ids": ids(4, 9), "attention_mask": MIXED})
    before = model(**inputs).logits
    inputs["input_ids"][:, 6:] += 1
    after = model(**inputs).logits
    assert varlen_calls
    assert torch.equal(after[:, :6], before[:, :6])
    assert not torch.equal(after[:, 6:], before[:, 6:])


def test_packed_documents_equal_separate_ones(varlen_calls):
    model = make("decoder").cuda().bfloat16()
    tokens = ids(1, 9).cuda()
    positions = torch.cat([torch.arange(4), torch.arange(5)])[None].cuda()
    packed = model(tokens, position_ids=positions).logits
    assert varlen_calls
    separate = torch.cat([model(part).logits for part in (tokens[:, :4], tokens[:, 4:])], 1)
    assert_same(packed, separate, 2e-2, "logits")


def test_unpadded_prefill_fills_the_cache_of_the_padded_batch(varlen_calls):
    model = make("decoder").cuda().bfloat16()
    inputs = to_gpu({"input_ids": ids(4, 9).masked_fill(LEFT == 0, 0), "attention_mask": LEFT})
    step = to_gpu({"input_ids": ids(4, 1, seed=5), "attention_mask": torch.cat((LEFT, torch.ones(4, 1).long()), 1)})
    found = {}
    for padding_free in (False, True):
        model.config.padding_free = padding_free
        outputs = model(**inputs, past_key_values=DynamicCache(config=model.config), use_cache=True)
        assert bool(varlen_calls) == padding_free
        found[padding_free] = model(**step, past_key_values=outputs.past_key_values, use_cache=True).logits
    assert_same(found[True], found[False], 3e-2, "logits of the next token")


def test_single_precision_stays_padded(varlen_calls):
    """The kernel has no single precision; logits equal those of the CPU."""
    model = make("encoder")
    inputs, mask = batch("encoder", MIXED)
    wanted = model(**inputs).logits[mask.bool()]
    found = model.cuda()(**to_gpu(inputs)).logits[mask.cuda().bool()]
    assert not varlen_calls
    assert_same(found.cpu(), wanted, 1e-4, "logits")


def loss_and_gradients(model, inputs, call=None, **fields):
    """The fused loss, and every gradient by name."""
    call = model if call is None else call
    loss = call(**inputs, fused_loss=True, **fields).loss
    loss.backward()
    gradients = {name: weight.grad.cpu() for name, weight in model.named_parameters()}
    return {"loss": loss.detach().cpu(), **gradients}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_fused_loss_equals_that_of_the_cpu(compiled, smoothing, monkeypatch):
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_TOKENS", 8)
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_LOGITS", {"cpu": 1})
    torch._dynamo.reset()
    model = make("decoder", final_logit_softcapping=5.0, lm_head_bias=True)
    tokens = ids(4, 9)
    inputs = {"input_ids": tokens, "labels": tokens.masked_fill(MIXED == 0, -100)}
    wanted = loss_and_gradients(copy.deepcopy(model), inputs, label_smoothing=smoothing)
    model.cuda()
    call = torch.compile(model, fullgraph=True) if compiled else None
    found = loss_and_gradients(model, to_gpu(inputs), call, label_smoothing=smoothing)
    for name, value in wanted.items():
        assert_same(found[name], value, 1e-5, name)


def test_fused_loss_in_half_precision_allocates_no_full_logits():
    vocab_size = 50_001  # no multiple of 8
    head = LMHead(64, vocab_size, bias=False).cuda().bfloat16()
    states = torch.randn(16_384, 64, device="cuda").bfloat16()
    labels = torch.randint(vocab_size, (16_384,), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = head(states, labels, None) / len(labels)
    loss.backward()
    grown = torch.cuda.max_memory_allocated() - before
    # full logits in bf16 and their gradient in float32 take six bytes per element
    assert grown < 16_384 * vocab_size * 6 / 4
    gradient, head.weight.grad = head.weight.grad, None
    full = torch.nn.functional.cross_entropy(head(states).float(), labels)
    full.backward()
    assert relative_error(gradient.double(), head.weight.grad.double()) < 1e-2
    assert_same(loss, full, 1e-3, "loss")


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_compiled_model_is_one_graph_and_equals_eager(architecture):
    torch._dynamo.reset()
    model = make(architecture).cuda()
    inputs, _ = batch(architecture, MIXED)
    inputs = to_gpu(inputs)
    wanted = model(**inputs)
    found = torch.compile(model, fullgraph=True)(**inputs)
    assert_same(found.logits, wanted.logits, 1e-4, "logits")
    assert_same(found.loss, wanted.loss, 1e-5, "loss")


@pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
def test_compiled_static_cache_gives_the_text_of_the_dynamic_cache(architecture):
    torch._dynamo.reset()
    model = make(architecture).cuda()
    prompt = to_gpu({"input_ids": ids(2, 7), "attention_mask": LEFT[:2, 2:]})
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    wanted = model.generate(**prompt, **settings)
    assert torch.equal(model.generate(**prompt, **settings, cache_implementation="static"), wanted)


def test_sequence_bounds_are_int32_on_the_gpu():
    """The kernel takes no other dtype or device."""
    embeds = torch.zeros(1, 1, 1, device="cuda", dtype=torch.bfloat16)
    backend = varlen_attention.choose_varlen_backend(make("encoder").config, embeds)
    assert backend == "torch_varlen"
    kernel = varlen_attention.varlen_kwargs(backend, [3, 2], [3, 2], torch.device("cuda"))["varlen"]
    assert [part.tolist() for part in kernel.bounds] == [[0, 3, 5]] * 2
    assert all(part.dtype == torch.int32 and part.is_cuda for part in kernel.bounds)
