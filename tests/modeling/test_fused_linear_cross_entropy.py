"""The fused loss is the full loss: same numbers, same gradients, and no tensor of tokens by vocabulary."""

import pytest
import torch
import torch._inductor.config
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.utils.generic import find_labels

from hf_tfm.modeling import fused_linear_cross_entropy
from hf_tfm.modeling.head_parts import LMHead, fused_loss_obstacle
from tests.grid import SIZES, TRUNKS, assert_same, ids, make, needs_compiler

ROWS, LENGTH, WORDS, CHUNK = 4, 9, SIZES["vocab_size"], 8


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Several chunks, the last one not full."""
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_TOKENS", CHUNK)
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_LOGITS", {"cpu": 1})


def batch_of(architecture, **words):
    """A model, and rows with uneven numbers of labels, one without any. In double precision, so that the blocks add no
    rounding; the softmax is taken in single by either loss."""
    model = make(architecture, num_hidden_layers=1, **words).double().train()
    model.set_experts_implementation("eager")  # the fast one has no double precision
    tokens = ids(ROWS, LENGTH)
    labels = tokens.clone()
    labels[0, 3:6] = labels[1] = labels[2, 7:] = -100
    return model, {"input_ids": tokens, "labels": labels}


def aligned(architecture, logits, labels):
    """Logits (N, V) and the labels (N,) that they are scored by."""
    if architecture == "decoder":
        logits, labels = logits[:, :-1], labels[:, 1:]
    return logits.flatten(0, 1).float(), labels.flatten()


def smoothing_of(architecture, model, batch, items, smoothing):
    """What torch's smoothing adds to the cross-entropy of the model's logits."""
    logits, labels = aligned(architecture, model(**batch).logits, batch["labels"])
    smooth, plain = (F.cross_entropy(logits, labels, label_smoothing=s, reduction="sum") for s in (smoothing, 0.0))
    return (smooth - plain) / (labels.ne(-100).sum() if items is None else items)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_gradients(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        gap = ((found[name] - gradient).norm() / gradient.norm()).item()
        assert gap < tolerance, f"gradient of {name} differs by {gap:.1e}"


def assert_equal(model, found, wanted, tolerance=1e-6):
    assert_same(found.detach(), wanted.detach(), tolerance, "loss")
    assert_gradients(gradients(model, found), gradients(model, wanted), tolerance)


CHOICES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "bias": {"lm_head_bias": True},
    "scale": {"logit_scale": 0.25, "lm_head_bias": True},
    "cap": {"final_logit_softcapping": 2.0, "logit_scale": 3.0},
    "factorised": {"embedding_size": 16},
    "transform": {"lm_head_type": "transform", "lm_head_bias": True, "embedding_size": 16},
    "experts": {"mlp_type": "moe", "num_experts": 4},
}
ASKED = {"plain": (None, 0.0), "items": (40, 0.0), "smoothed": (None, 0.1), "both": (torch.tensor(40), 0.3)}


@pytest.mark.parametrize("multiple", [{}, {"cpu": 8}], ids=["plain", "padded vocabulary"])
@pytest.mark.parametrize("architecture", TRUNKS)
@pytest.mark.parametrize("choice", CHOICES)
def test_fused_loss_equals_the_full_loss(architecture, choice, multiple, monkeypatch):
    # 53 words and 3 rows of zeros, as on a GPU; without it no row more
    monkeypatch.setattr(fused_linear_cross_entropy, "VOCABULARY_MULTIPLE", multiple)
    model, batch = batch_of(architecture, **CHOICES[choice])
    for items, smoothing in ASKED.values():
        counted = {} if items is None else {"num_items_in_batch": items}
        found = model(**batch, **counted, fused_loss=True, label_smoothing=smoothing)
        assert "logits" not in found
        added = smoothing_of(architecture, model, batch, items, smoothing)
        assert_equal(model, found.loss, model(**batch, **counted).loss + added)


def test_the_head_alone_in_single_precision_equals_double():
    torch.manual_seed(0)
    head, tokens, labels = LMHead(24, 300), torch.randn(50, 24), torch.randint(0, 300, (50,))
    whole = head.double()(tokens.double()).mul(0.5).div(3).tanh().mul(3)
    wanted = gradients(head, F.cross_entropy(whole, labels, label_smoothing=0.2, reduction="sum"))
    found = head.float()(tokens, labels, 3.0, 0.5, 0.2)
    assert_gradients(gradients(head, found), wanted, 1e-6)


def test_the_configuration_decides_and_the_call_overrules():
    model, batch = batch_of("decoder", fused_loss=True)
    assert model(**batch).logits is None
    assert model(**batch, fused_loss=False).logits.shape == (ROWS, LENGTH, WORDS)
    assert model(batch["input_ids"]).logits.shape == (ROWS, LENGTH, WORDS), "no labels, no loss: logits"
    loss, *_ = model(**batch, return_dict=False)
    assert_same(loss, model(**batch, fused_loss=False).loss, 1e-6)


def test_micro_batches_sum_to_the_large_batch():
    model, batch = batch_of("decoder")
    items = scored_in(batch)
    wanted = gradients(model, model(**batch).loss)
    parts = [
        model(**{k: v[rows] for k, v in batch.items()}, num_items_in_batch=items, fused_loss=True).loss
        for rows in (slice(0, 1), slice(1, 4))
    ]
    model.zero_grad()
    for part in parts:
        part.backward()
    found = {name: weight.grad for name, weight in model.named_parameters()}
    assert_gradients(found, wanted, 1e-6)


def scored_in(batch):
    return batch["labels"][:, 1:].ne(-100).sum()


def test_given_shifted_labels_are_used_as_they_are():
    model, batch = batch_of("decoder")
    shifted = F.pad(batch["labels"][:, 2:], (0, 2), value=-100)
    found, wanted = (model(**batch, shift_labels=shifted, fused_loss=choice).loss for choice in (True, False))
    assert_equal(model, found, wanted)


def test_another_index_can_be_ignored():
    model, batch = batch_of("encoder")
    batch["labels"] = batch["labels"].masked_fill(batch["labels"] == -100, 7)
    found, wanted = (model(**batch, ignore_index=7, fused_loss=choice).loss for choice in (True, False))
    assert_equal(model, found, wanted)


@pytest.mark.parametrize("items", [{}, {"num_items_in_batch": 0}, {"num_items_in_batch": 5}], ids=str)
def test_a_batch_without_labels_is_as_the_hosts(items):
    model, batch = batch_of("decoder")
    batch["labels"] = torch.full_like(batch["labels"], -100)
    found, wanted = (model(**batch, **items, fused_loss=choice).loss for choice in (True, False))
    assert torch.equal(found.isnan(), wanted.isnan())
    for loss in (found, wanted):
        assert all((gradient == 0).all() for gradient in gradients(model, loss).values())


def test_only_labelled_tokens_reach_the_vocabulary():
    model, batch = batch_of("encoder", lm_head_type="transform")
    batch["labels"][:, 2:] = -100
    seen = []
    model.lm_transform.register_forward_hook(lambda module, given, made: seen.append(len(made)))
    model(**batch, fused_loss=True)
    assert seen == [batch["labels"].ne(-100).sum()]


class Rows(TorchDispatchMode):
    """The most rows of vocabulary width that any operation made, forwards or backwards."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (WORDS,):
                self.most = max(self.most, tensor.numel() // WORDS)
        return made


def rows_made(fused_loss):
    model, batch = batch_of("decoder", embedding_size=4)
    with Rows() as rows:
        model(**batch, fused_loss=fused_loss).loss.backward()
    return rows.most


def test_no_tensor_of_tokens_by_vocabulary_is_made():
    assert rows_made(fused_loss=False) >= ROWS * LENGTH
    assert rows_made(fused_loss=True) <= CHUNK


def test_autocast_is_as_close_as_the_full_loss():
    model, batch = batch_of("decoder", lm_head_bias=True)
    wanted = gradients(model.float(), model(**batch).loss)
    for choice in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch, fused_loss=choice).loss
        assert loss.dtype == torch.float32
        assert_gradients(gradients(model, loss), wanted, 0.03)


def test_a_model_in_half_precision_sums_in_single():
    model, batch = batch_of("decoder")
    found, wanted = (model.bfloat16()(**batch, fused_loss=choice).loss for choice in (True, False))
    assert found.dtype == torch.float32
    assert_equal(model, found, wanted, 0.02)


def test_frozen_weights_cost_no_gradient():
    model, batch = batch_of("decoder", tie_word_embeddings=False, lm_head_bias=True)
    model.lm_head.requires_grad_(False)
    found, wanted = (model(**batch, fused_loss=choice).loss for choice in (True, False))
    node = found.grad_fn.next_functions[0][0]
    assert [tensor is None for tensor in node.saved_tensors] == [False, False, True, True]
    assert_equal(model, found, wanted)


def test_without_gradients_none_are_taken():
    model, batch = batch_of("decoder", embedding_size=4)
    with torch.no_grad(), Rows() as rows:
        loss = model(**batch, fused_loss=True).loss
    assert loss.grad_fn is None
    assert_same(loss, model(**batch).loss.detach(), 1e-6)
    assert rows.most <= CHUNK


def test_a_second_backward_is_refused():
    model, batch = batch_of("decoder")
    loss = model(**batch, fused_loss=True).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss = model(**batch, fused_loss=True).loss
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, model.lm_head.weight, create_graph=True)


def test_checkpointed_blocks_learn_the_same():
    model, batch = batch_of("decoder")
    wanted = model(**batch).loss
    model.gradient_checkpointing_enable()
    assert_equal(model, model(**batch, fused_loss=True).loss, wanted)


@pytest.mark.parametrize("multiple", [{}, {"cpu": 8}], ids=["plain", "padded vocabulary"])
def test_the_model_in_one_graph_equals_eager(multiple, monkeypatch):
    monkeypatch.setattr(fused_linear_cross_entropy, "VOCABULARY_MULTIPLE", multiple)
    torch._dynamo.reset()
    model, batch = batch_of("decoder", final_logit_softcapping=2.0, lm_head_bias=True)
    fast = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = fast(**batch, fused_loss=True, label_smoothing=0.1).loss
    assert_equal(model, found, model(**batch, fused_loss=True, label_smoothing=0.1).loss)
    torch._dynamo.reset()


@needs_compiler
def test_the_head_in_compiled_kernels_equals_eager():
    torch._dynamo.reset()
    torch.manual_seed(0)
    head, tokens, labels = LMHead(24, 40), torch.randn(20, 24, requires_grad=True), torch.randint(0, 40, (20,))
    labels[3:7] = -100
    given = (tokens, labels, 3.0, 0.5, 0.2)
    with torch._inductor.config.patch({"cpp.simdlen": 1}):
        found = torch.compile(head, fullgraph=True)(*given)
        assert_equal(head, found, head(*given))
    torch._dynamo.reset()


def test_resized_words_keep_the_fused_loss():
    model, batch = batch_of("decoder", tie_word_embeddings=False)
    model.resize_token_embeddings(WORDS + 3)
    found, wanted = (model(**batch, fused_loss=choice).loss for choice in (True, False))
    assert_equal(model, found, wanted)


def test_what_would_be_passed_over_is_refused():
    model, batch = batch_of("decoder", tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1 is for the fused loss"):
        model(**batch, label_smoothing=0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        model(**batch, label_smoothing=1.5, fused_loss=True)
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        model(**batch, fused_loss=True, logits_to_keep=2)
    model._tp_size = 2
    with pytest.raises(ValueError, match="tp_size=2 splits the vocabulary"):
        model(**batch, fused_loss=True)
    model._tp_size = None
    model.loss_function = lambda **kwargs: torch.zeros(())
    with pytest.raises(ValueError, match="loss function of its own"):
        model(**batch, fused_loss=True)
    del model._loss_function
    model.lm_head = torch.nn.Linear(*reversed(model.lm_head.weight.shape))
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear"):
        model(**batch, fused_loss=True)


@pytest.mark.parametrize(
    ("choices", "carried"),
    [
        ({"target_modules": ["q_proj"]}, True),
        ({"target_modules": ["embed_tokens"]}, True),
        ({"target_modules": ["q_proj", "lm_head"]}, False),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, False),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]}, False),
    ],
    ids=str,
)
def test_adapters_are_carried_or_refused(choices, carried):
    peft = pytest.importorskip("peft")
    model, batch = batch_of("decoder")
    adapted = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **choices))
    assert (fused_loss_obstacle(adapted.get_base_model()) is None) == carried
    if carried:
        found, wanted = (adapted(**batch, fused_loss=choice).loss for choice in (True, False))
        assert_equal(adapted, found, wanted)
    else:
        with pytest.raises(ValueError, match="lm_head is a peft"):
            adapted(**batch, fused_loss=True)


@pytest.mark.parametrize("architecture", TRUNKS)
def test_trainer_finds_the_labels_and_nothing_else(architecture):
    # an argument called label_smoothing made the host's Trainer wait for it in every batch of evaluation
    assert find_labels(TRUNKS[architecture][1]) == ["labels"]


def test_a_head_that_computes_logits_in_its_own_way_is_refused():
    class Louder(TRUNKS["decoder"][1]):
        def compute_logits(self, hidden_states):
            return 2 * super().compute_logits(hidden_states)

    model = make("decoder", Louder)
    with pytest.raises(ValueError, match="Louder computes logits in its own way"):
        model(ids(2, 5), labels=ids(2, 5), fused_loss=True)
