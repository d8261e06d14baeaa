"""On a GPU: torch's kernel for sequences of all lengths, the fused loss, compiled steps and generated text. The error
in half precision may be that of the padded batch, both measured against single precision."""

import copy

import pytest
import torch
from transformers import DynamicCache

from hf_tfm.modeling import fused_linear_cross_entropy, varlen_attention
from hf_tfm.modeling.head_parts import LMHead
from tests.grid import assert_same, ids, make
from tests.modeling.padded_batches import LEFT, LENGTHS, MIXED, batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

WORDS = {
    "rotary": {},
    "learned": {"position_type": "learned"},
    "grouped": {"num_key_value_heads": 2, "qk_norm": "head"},
    "one key for all": {"num_key_value_heads": 1},
    "sliding": {"sliding_window": 4},
    "some layers slide": {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 3},
    "scaled": {"attention_scale": 0.5, "head_dim": 16},
}


@pytest.fixture
def opened(monkeypatch):
    """The number of tokens that torch's kernel is asked to attend, every time that it is."""
    seen = []
    kernel = varlen_attention.VARLEN_ATTN

    def watched(query, *rest, **more):
        seen.append(query.shape[0])
        return kernel(query, *rest, **more)

    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", watched)
    return seen


def on_gpu(values):
    return {name: value.cuda() if torch.is_tensor(value) else value for name, value in values.items()}


def answers(model, inputs, mask, dtype, padding_free):
    """Loss, logits at real tokens and all gradients as one vector, in double precision."""
    model = copy.deepcopy(model).to(dtype)
    model.config.padding_free = padding_free
    outputs = model(**inputs)
    outputs.loss.backward()
    gradients = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    found = {"loss": outputs.loss, "logits": outputs.logits[mask.bool()], "gradients": gradients}
    return {name: value.detach().double() for name, value in found.items()}


def error(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


def assert_rounding_only(found, plain, exact):
    """Fails where `found` is further from the exact numbers than rounding takes `plain`."""
    for name, wanted in exact.items():
        allowed = 2 * error(plain[name], wanted) + 1e-3
        assert error(found[name], wanted) < allowed, f"{name}: {error(found[name], wanted):.1e}, {allowed:.1e} allowed"


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_real_tokens_alone_in_half_precision(architecture, words, dtype, opened):
    model = make(architecture, **{"num_hidden_layers": 4, **words}).cuda()
    inputs, mask = batch(architecture, MIXED)
    inputs = on_gpu(inputs)
    exact = answers(model, inputs, mask, torch.float32, False)
    plain = answers(model, inputs, mask, dtype, False)
    assert not opened
    assert_rounding_only(answers(model, inputs, mask, dtype, True), plain, exact)
    assert sum(LENGTHS) in opened, "the kernel was not asked"


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_real_tokens_alone_under_autocast(architecture, opened):
    """Rotation leaves queries in single precision there."""
    model = make(architecture).cuda()
    inputs, mask = batch(architecture, MIXED)
    inputs = on_gpu(inputs)
    exact = answers(model, inputs, mask, torch.float32, False)
    with torch.autocast("cuda", torch.bfloat16):
        plain, found = (answers(model, inputs, mask, torch.float32, door) for door in (False, True))
    assert_rounding_only(found, plain, exact)
    assert opened


@pytest.mark.parametrize("words", [{"position_type": "alibi"}, {"head_dim": 12}])
def test_what_the_kernel_does_not_know_stays_padded(words, opened):
    model = make("encoder", **words).cuda().bfloat16()
    inputs, _ = batch("encoder", MIXED)
    assert model(**on_gpu(inputs)).logits.isfinite().all()
    assert not opened


def test_no_token_sees_the_future(opened):
    model = make("decoder").cuda().bfloat16()
    inputs = on_gpu({"input_ids": ids(4, 9), "attention_mask": MIXED})
    before = model(**inputs).logits
    inputs["input_ids"][:, 6:] += 1
    after = model(**inputs).logits
    assert opened
    assert torch.equal(after[:, :6], before[:, :6])
    assert not torch.equal(after[:, 6:], before[:, 6:])


def test_packed_documents_are_read_one_by_one(opened):
    model = make("decoder").cuda().bfloat16()
    tokens = ids(1, 9).cuda()
    positions = torch.cat([torch.arange(4), torch.arange(5)])[None].cuda()
    together = model(tokens, position_ids=positions).logits
    assert opened
    apart_ = torch.cat([model(part).logits for part in (tokens[:, :4], tokens[:, 4:])], 1)
    assert_same(together, apart_, 2e-2, "logits")


def test_a_filled_cache_is_that_of_the_padded_batch(opened):
    model = make("decoder").cuda().bfloat16()
    inputs = on_gpu({"input_ids": ids(4, 9).masked_fill(LEFT == 0, 0), "attention_mask": LEFT})
    step = on_gpu({"input_ids": ids(4, 1, seed=5), "attention_mask": torch.cat((LEFT, torch.ones(4, 1).long()), 1)})
    found = {}
    for door in (False, True):
        model.config.padding_free = door
        outputs = model(**inputs, past_key_values=DynamicCache(config=model.config), use_cache=True)
        assert bool(opened) == door
        found[door] = model(**step, past_key_values=outputs.past_key_values, use_cache=True).logits
    assert_same(found[True], found[False], 3e-2, "logits of the next token")


def test_single_precision_stays_padded(opened):
    """No kernel for it: numbers are those of the CPU."""
    model = make("encoder")
    inputs, mask = batch("encoder", MIXED)
    wanted = model(**inputs).logits[mask.bool()]
    found = model.cuda()(**on_gpu(inputs)).logits[mask.cuda().bool()]
    assert not opened
    assert_same(found.cpu(), wanted, 1e-4, "logits")


def learnt(model, inputs, call=None, **words):
    """The loss, and every gradient by name."""
    call = model if call is None else call
    loss = call(**inputs, fused_loss=True, **words).loss
    loss.backward()
    gradients = {name: weight.grad.cpu() for name, weight in model.named_parameters()}
    return {"loss": loss.detach().cpu(), **gradients}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_fused_loss_is_that_of_a_cpu(compiled, smoothing, monkeypatch):
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_TOKENS", 8)
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_LOGITS", {"cpu": 1})
    torch._dynamo.reset()
    model = make("decoder", final_logit_softcapping=5.0, lm_head_bias=True)
    tokens = ids(4, 9)
    inputs = {"input_ids": tokens, "labels": tokens.masked_fill(MIXED == 0, -100)}
    wanted = learnt(copy.deepcopy(model), inputs, label_smoothing=smoothing)
    model.cuda()
    call = torch.compile(model, fullgraph=True) if compiled else None
    found = learnt(model, on_gpu(inputs), call, label_smoothing=smoothing)
    for name, value in wanted.items():
        assert_same(found[name], value, 1e-5, name)


def test_the_fused_loss_in_half_precision_holds_no_logits():
    words = 50_001  # no multiple of 8
    head = LMHead(64, words, bias=False).cuda().bfloat16()
    states, labels = torch.randn(16_384, 64, device="cuda").bfloat16(), torch.randint(words, (16_384,), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = head(states, labels, None) / len(labels)
    loss.backward()
    grown = torch.cuda.max_memory_allocated() - before
    # logits in bf16 and their gradient in float32 would take six bytes each
    assert grown < 16_384 * words * 6 / 4
    gradient, head.weight.grad = head.weight.grad, None
    full = torch.nn.functional.cross_entropy(head(states).float(), labels)
    full.backward()
    assert error(gradient.double(), head.weight.grad.double()) < 1e-2
    assert_same(loss, full, 1e-3, "loss")


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_one_graph_for_the_model(architecture):
    torch._dynamo.reset()
    model = make(architecture).cuda()
    inputs, _ = batch(architecture, MIXED)
    inputs = on_gpu(inputs)
    wanted = model(**inputs)
    found = torch.compile(model, fullgraph=True)(**inputs)
    assert_same(found.logits, wanted.logits, 1e-4, "logits")
    assert_same(found.loss, wanted.loss, 1e-5, "loss")


@pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
def test_text_of_a_static_compiled_cache_is_that_of_a_dynamic_one(architecture):
    torch._dynamo.reset()
    model = make(architecture).cuda()
    prompt = on_gpu({"input_ids": ids(2, 7), "attention_mask": LEFT[:2, 2:]})
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    wanted = model.generate(**prompt, **settings)
    assert torch.equal(model.generate(**prompt, **settings, cache_implementation="static"), wanted)


def test_sequences_have_the_lengths_that_the_mask_says():
    """The bounds lie on the GPU in 32-bit numbers, which is all that the kernel takes."""
    embeds = torch.zeros(1, 1, 1, device="cuda", dtype=torch.bfloat16)
    backend = varlen_attention.choose_varlen_backend(make("encoder").config, embeds)
    assert backend == "torch_varlen"
    kernel = varlen_attention.varlen_kwargs(backend, [3, 2], [3, 2], torch.device("cuda"))["varlen"]
    assert [part.tolist() for part in kernel.bounds] == [[0, 3, 5]] * 2
    assert all(part.dtype == torch.int32 and part.is_cuda for part in kernel.bounds)
