"""Properties of every configuration, tested on the pairwise sample of the grid."""

import copy

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from tests.grid import assert_same, config_fields, ids, logits_of, make

LENGTH = 9


def only_for(*architectures):
    def mark(function):
        function.architectures = architectures
        return function

    return mark


def logits_without_cache(model, tokens, memory):
    """Logits of all tokens in one forward. `memory`: input of the encoder of an encoder-decoder."""
    if model.config.is_encoder_decoder:
        return model(input_ids=memory, decoder_input_ids=tokens, use_cache=False).logits
    return model(input_ids=tokens, use_cache=False).logits


def logits_with_cache(model, tokens, memory, cache, chunks):
    """The same logits from one forward per chunk of tokens."""
    parts, start = [], 0
    for size in chunks:
        chunk = tokens[:, start : start + size]
        inputs = {"decoder_input_ids": chunk, "input_ids": memory} if memory is not None else {"input_ids": chunk}
        parts.append(model(**inputs, past_key_values=cache, use_cache=True).logits)
        start += size
    return torch.cat(parts, dim=1)


def new_cache(model, kind):
    decoder = model.config.get_text_config(decoder=True)
    make_cache = {
        "dynamic": lambda config: DynamicCache(config=config),
        "static": lambda config: StaticCache(config=config, max_cache_len=16),
    }[kind]
    if not model.config.is_encoder_decoder:
        return make_cache(decoder)
    return EncoderDecoderCache(make_cache(decoder), DynamicCache())


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@only_for("decoder", "seq2seq")
def test_cached_decoding_equals_full_forward(architecture, row, kind):
    model = make(architecture, **config_fields(row))
    tokens = ids(2, LENGTH)
    memory = ids(2, 7, seed=1) if architecture == "seq2seq" else None
    with torch.no_grad():
        wanted = logits_without_cache(model, tokens, memory)
        found = logits_with_cache(model, tokens, memory, new_cache(model, kind), [3, 1, 2, 1, 1, 1])
    assert_same(found, wanted, what=f"{kind} cache")


@only_for("decoder", "seq2seq")
def test_no_token_attends_to_later_tokens(architecture, row):
    model = make(architecture, **config_fields(row))
    tokens = ids(1, LENGTH)
    memory = ids(1, 7, seed=1) if architecture == "seq2seq" else None
    other = tokens.clone()
    other[:, 5:] = ids(1, LENGTH - 5, seed=3)
    with torch.no_grad():
        before, after = logits_without_cache(model, tokens, memory), logits_without_cache(model, other, memory)
    assert_same(after[:, :5], before[:, :5], what="logits before the change")
    assert (after[:, 5:] - before[:, 5:]).abs().max() > 1e-4, "the changed tokens have the same logits"


@only_for("encoder")
def test_encoder_tokens_attend_to_both_sides(architecture, row):
    fields = config_fields(row)
    model = make(architecture, **fields)
    tokens = ids(1, LENGTH)
    for changed, neighbour in ((LENGTH - 1, LENGTH - 2), (0, 1)):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] - 3 + 7) % 50 + 3
        change = (logits_of(model, other) - logits_of(model, tokens))[:, neighbour].abs().max()
        assert change > 1e-5, f"token {neighbour} does not attend to token {changed}"


def add_padding(tokens, side, pads):
    """`tokens` with `pads` padding tokens on one side of each row, and the mask."""
    filler = torch.zeros(tokens.shape[0], pads, dtype=torch.long)
    parts, mask = [tokens, filler], [torch.ones_like(tokens), filler]
    if side == "left":
        parts, mask = parts[::-1], mask[::-1]
    return torch.cat(parts, 1), torch.cat(mask, 1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_logits_of_real_tokens(architecture, row, side):
    model = make(architecture, **config_fields(row))
    tokens = ids(2, LENGTH)
    longer, mask = add_padding(tokens, side, 4)
    wanted, found = logits_of(model, tokens), logits_of(model, longer, attention_mask=mask)
    if not model.config.is_encoder_decoder:
        found = found[mask.bool()].view_as(wanted)
    assert_same(found, wanted, what=f"{side}-padded logits")


@only_for("decoder", "seq2seq")
def test_left_padding_does_not_change_generated_text(architecture, row):
    model = make(architecture, **config_fields(row))
    model.generation_config.eos_token_id = None
    rows = [ids(1, n, seed=n) for n in (4, 7, 9)]
    single = [model.generate(r, max_new_tokens=5, do_sample=False)[0, -5:] for r in rows]
    padded = [add_padding(r, "left", 9 - r.shape[1]) for r in rows]
    batch = model.generate(
        torch.cat([tokens for tokens, _ in padded]),
        attention_mask=torch.cat([mask for _, mask in padded]),
        max_new_tokens=5,
        do_sample=False,
    )
    assert batch[:, -5:].tolist() == [tokens.tolist() for tokens in single]


@pytest.mark.parametrize("use_cache", [False, True])
def test_packed_documents_equal_separate_ones(architecture, row, use_cache):
    model = make(architecture, **config_fields(row))
    lengths = (4, 6, 1, 7)
    documents = [ids(1, n, seed=n) for n in lengths]
    packed = torch.cat(documents, 1)
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    stack = model.model.encoder if architecture == "seq2seq" else model.model
    cache = {"use_cache": use_cache} if architecture == "decoder" else {}
    with torch.no_grad():
        wanted = torch.cat([stack(input_ids=d).last_hidden_state for d in documents], 1)
        found = stack(input_ids=packed, position_ids=positions, **cache).last_hidden_state
    assert_same(found, wanted, what="packed hidden states")


def supported_attentions(model):
    """The attention implementations that support this configuration."""
    names = []
    for name in ("eager", "eager_blockwise", "sdpa", "flex_attention"):
        try:
            model.choose_attention(name)
            names.append(name)
        except ValueError:
            continue
    # transformers supports sinks with flex_attention only on accelerators
    return [n for n in names if not (n == "flex_attention" and model.config.attention_sinks)]


def test_attention_implementations_agree(architecture, row):
    model = make(architecture, **config_fields(row))
    tokens, mask = add_padding(ids(2, LENGTH), "left", 3)
    found = {}
    for name in supported_attentions(model):
        model.set_attn_implementation(name)
        # transformers compiles the masks of flex_attention, which takes seconds for each shape
        with torch.compiler.set_stance("force_eager"):
            found[name] = logits_of(model, tokens, attention_mask=mask)
        if architecture != "seq2seq":
            found[name] = found[name][mask.bool()]
    for name, logits in found.items():
        assert_same(logits, found["eager"], what=f"{name} against eager")


def test_loaded_model_equals_the_saved_one_bitwise(architecture, row, tmp_path):
    model = make(architecture, **config_fields(row))
    model.save_pretrained(tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        other = loaded.get_parameter_or_buffer(name)
        assert torch.equal(tensor, other), f"{name} differs after loading"
    assert model.config.to_diff_dict() == loaded.config.to_diff_dict()
    # not bitwise: rounding depends on the alignment of memory, which differs between mapped and allocated weights
    assert_same(logits_of(loaded, ids(2, LENGTH)), logits_of(model, ids(2, LENGTH)), 1e-6, "logits")


def gradients(model, tokens, checkpointing):
    model = copy.deepcopy(model).train()
    if checkpointing is not None:
        model.activation_checkpointing_enable({"use_reentrant": checkpointing == "reentrant"})
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", ["reentrant", "not_reentrant"])
def test_checkpointed_gradients_are_equal_and_complete(architecture, row, kind):
    model = make(architecture, **config_fields(row))
    tokens = ids(2, LENGTH)
    loss, wanted = gradients(model, tokens, None)
    again, found = gradients(model, tokens, kind)
    assert_same(again, loss, 2e-6, "loss")
    for name, gradient in wanted.items():
        assert gradient is not None, f"{name} has no gradient"
        assert found[name] is not None, f"{name} has no gradient under checkpointing"
        assert_same(found[name], gradient, 5e-6, f"gradient of {name}")
