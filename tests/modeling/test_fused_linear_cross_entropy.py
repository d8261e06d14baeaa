"""The fused loss equals the loss of full logits in value and gradients, and makes no tensor of tokens x vocabulary."""

import pytest
import torch
import torch._inductor.config
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.utils.generic import find_labels

from hf_tfm.modeling import fused_linear_cross_entropy
from hf_tfm.modeling.head_parts import LMHead, fused_loss_obstacle
from tests.grid import LANGUAGE_MODELS, SIZES, assert_same, ids, make, needs_compiler

BATCH_SIZE, LENGTH, VOCAB_SIZE, CHUNK = 4, 9, SIZES["vocab_size"], 8


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Each batch takes several chunks, and the last one is not full."""
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_TOKENS", CHUNK)
    monkeypatch.setattr(fused_linear_cross_entropy, "CHUNK_LOGITS", {"cpu": 1})


def model_and_batch(architecture, **fields):
    """A model, and rows with different numbers of labels, one without any. The model has double precision, so that its
    blocks do not round; both losses take the softmax in single precision."""
    model = make(architecture, num_hidden_layers=1, **fields).double().train()
    model.set_experts_implementation("eager")  # grouped_mm has no double precision
    tokens = ids(BATCH_SIZE, LENGTH)
    labels = tokens.clone()
    labels[0, 3:6] = labels[1] = labels[2, 7:] = -100
    return model, {"input_ids": tokens, "labels": labels}


def align(architecture, logits, labels):
    """Logits (N, V) and their labels (N,)."""
    if architecture == "decoder":
        logits, labels = logits[:, :-1], labels[:, 1:]
    return logits.flatten(0, 1).float(), labels.flatten()


def smoothing_term(architecture, model, batch, items, smoothing):
    """What label smoothing in torch adds to the cross-entropy of the model's logits."""
    logits, labels = align(architecture, model(**batch).logits, batch["labels"])
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


def assert_same_loss_and_gradients(model, found, wanted, tolerance=1e-6):
    assert_same(found.detach(), wanted.detach(), tolerance, "loss")
    assert_gradients(gradients(model, found), gradients(model, wanted), tolerance)


MODELS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "bias": {"lm_head_bias": True},
    "scale": {"logit_scale": 0.25, "lm_head_bias": True},
    "cap": {"final_logit_softcapping": 2.0, "logit_scale": 3.0},
    "factorised": {"embedding_size": 16},
    "transform": {"lm_head_type": "transform", "lm_head_bias": True, "embedding_size": 16},
    "z_loss": {"z_loss_coef": 0.3, "final_logit_softcapping": 5.0, "logit_scale": 3.0, "lm_head_bias": True},
    "experts": {"mlp_type": "moe", "num_experts": 4},
}
# name -> num_items_in_batch, label_smoothing
LOSS_OPTIONS = {"plain": (None, 0.0), "items": (40, 0.0), "smoothed": (None, 0.1), "both": (torch.tensor(40), 0.3)}


@pytest.mark.parametrize("multiple", [{}, {"cpu": 8}], ids=["plain", "padded vocabulary"])
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("name", MODELS)
def test_fused_loss_equals_the_full_loss(architecture, name, multiple, monkeypatch):
    # "padded vocabulary": 53 tokens and 3 rows of zeros, as on a GPU
    monkeypatch.setattr(fused_linear_cross_entropy, "VOCABULARY_MULTIPLE", multiple)
    model, batch = model_and_batch(architecture, **MODELS[name])
    for items, smoothing in LOSS_OPTIONS.values():
        counted = {} if items is None else {"num_items_in_batch": items}
        found = model(**batch, **counted, fused_loss=True, label_smoothing=smoothing)
        assert "logits" not in found
        added = smoothing_term(architecture, model, batch, items, smoothing)
        assert_same_loss_and_gradients(model, found.loss, model(**batch, **counted).loss + added)


def test_head_in_single_precision_equals_double():
    torch.manual_seed(0)
    head, tokens, labels = LMHead(24, 300), torch.randn(50, 24), torch.randint(0, 300, (50,))
    logits = head.double()(tokens.double()).mul(0.5).div(3).tanh().mul(3)
    z_loss = 0.3 * logits.logsumexp(-1).square().sum()
    wanted = gradients(head, F.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum") + z_loss)
    found = head.float()(tokens, labels, 3.0, 0.5, 0.2, 0.3)
    assert_gradients(gradients(head, found), wanted, 1e-6)


def test_argument_overrules_the_configuration():
    model, batch = model_and_batch("decoder", fused_loss=True)
    assert model(**batch).logits is None
    assert model(**batch, fused_loss=False).logits.shape == (BATCH_SIZE, LENGTH, VOCAB_SIZE)
    assert model(batch["input_ids"]).logits.shape == (BATCH_SIZE, LENGTH, VOCAB_SIZE), "no labels, no loss: logits"
    loss, *_ = model(**batch, return_dict=False)
    assert_same(loss, model(**batch, fused_loss=False).loss, 1e-6)


def test_accumulated_micro_batches_equal_the_large_batch():
    model, batch = model_and_batch("decoder")
    items = count_labels(batch)
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


def count_labels(batch):
    return batch["labels"][:, 1:].ne(-100).sum()


def test_shift_labels_are_used_as_given():
    model, batch = model_and_batch("decoder")
    shifted = F.pad(batch["labels"][:, 2:], (0, 2), value=-100)
    found, wanted = (model(**batch, shift_labels=shifted, fused_loss=fused).loss for fused in (True, False))
    assert_same_loss_and_gradients(model, found, wanted)


def test_another_ignore_index_gives_the_full_loss():
    model, batch = model_and_batch("encoder")
    batch["labels"] = batch["labels"].masked_fill(batch["labels"] == -100, 7)
    found, wanted = (model(**batch, ignore_index=7, fused_loss=fused).loss for fused in (True, False))
    assert_same_loss_and_gradients(model, found, wanted)


@pytest.mark.parametrize("items", [{}, {"num_items_in_batch": 0}, {"num_items_in_batch": 5}], ids=str)
def test_batch_without_labels_equals_the_full_loss(items):
    model, batch = model_and_batch("decoder")
    batch["labels"] = torch.full_like(batch["labels"], -100)
    found, wanted = (model(**batch, **items, fused_loss=fused).loss for fused in (True, False))
    assert torch.equal(found.isnan(), wanted.isnan())
    for loss in (found, wanted):
        assert all((gradient == 0).all() for gradient in gradients(model, loss).values())


def test_only_tokens_with_labels_reach_the_head():
    model, batch = model_and_batch("encoder", lm_head_type="transform")
    batch["labels"][:, 2:] = -100
    numbers = []
    model.lm_transform.register_forward_hook(lambda module, inputs, output: numbers.append(len(output)))
    model(**batch, fused_loss=True)
    assert numbers == [batch["labels"].ne(-100).sum()]


class LargestLogits(TorchDispatchMode):
    """Records the largest number of rows of vocabulary width that one operation makes, forward or backward."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (VOCAB_SIZE,):
                self.rows = max(self.rows, tensor.numel() // VOCAB_SIZE)
        return result


def largest_logits(fused_loss):
    model, batch = model_and_batch("decoder", embedding_size=4)
    with LargestLogits() as largest:
        model(**batch, fused_loss=fused_loss).loss.backward()
    return largest.rows


def test_no_tensor_of_tokens_by_vocabulary_is_made():
    assert largest_logits(fused_loss=False) >= BATCH_SIZE * LENGTH
    assert largest_logits(fused_loss=True) <= CHUNK


def test_autocast_is_as_exact_as_with_the_full_loss():
    model, batch = model_and_batch("decoder", lm_head_bias=True)
    wanted = gradients(model.float(), model(**batch).loss)
    for fused in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch, fused_loss=fused).loss
        assert loss.dtype == torch.float32
        assert_gradients(gradients(model, loss), wanted, 0.03)


def test_model_in_half_precision_sums_the_loss_in_single():
    model, batch = model_and_batch("decoder")
    found, wanted = (model.bfloat16()(**batch, fused_loss=fused).loss for fused in (True, False))
    assert found.dtype == torch.float32
    assert_same_loss_and_gradients(model, found, wanted, 0.02)


def test_frozen_weights_have_no_saved_gradients():
    model, batch = model_and_batch("decoder", tie_word_embeddings=False, lm_head_bias=True)
    model.lm_head.requires_grad_(False)
    found, wanted = (model(**batch, fused_loss=fused).loss for fused in (True, False))
    node = found.grad_fn.next_functions[0][0]
    assert [tensor is None for tensor in node.saved_tensors] == [False, False, True, True]
    assert_same_loss_and_gradients(model, found, wanted)


def test_no_gradients_are_computed_under_no_grad():
    model, batch = model_and_batch("decoder", embedding_size=4)
    with torch.no_grad(), LargestLogits() as largest:
        loss = model(**batch, fused_loss=True).loss
    assert loss.grad_fn is None
    assert_same(loss, model(**batch).loss.detach(), 1e-6)
    assert largest.rows <= CHUNK


def test_second_backward_and_second_derivative_are_refused():
    model, batch = model_and_batch("decoder")
    loss = model(**batch, fused_loss=True).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss = model(**batch, fused_loss=True).loss
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, model.lm_head.weight, create_graph=True)


def test_gradient_checkpointing_gives_the_same_gradients():
    model, batch = model_and_batch("decoder")
    wanted = model(**batch).loss
    model.gradient_checkpointing_enable()
    assert_same_loss_and_gradients(model, model(**batch, fused_loss=True).loss, wanted)


@pytest.mark.parametrize("multiple", [{}, {"cpu": 8}], ids=["plain", "padded vocabulary"])
def test_compiled_model_is_one_graph_and_equals_eager(multiple, monkeypatch):
    monkeypatch.setattr(fused_linear_cross_entropy, "VOCABULARY_MULTIPLE", multiple)
    torch._dynamo.reset()
    model, batch = model_and_batch("decoder", final_logit_softcapping=2.0, lm_head_bias=True, z_loss_coef=0.2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = compiled(**batch, fused_loss=True, label_smoothing=0.1).loss
    assert_same_loss_and_gradients(model, found, model(**batch, fused_loss=True, label_smoothing=0.1).loss)
    torch._dynamo.reset()


@needs_compiler
def test_head_in_compiled_kernels_equals_eager():
    torch._dynamo.reset()
    torch.manual_seed(0)
    head, tokens, labels = LMHead(24, 40), torch.randn(20, 24, requires_grad=True), torch.randint(0, 40, (20,))
    labels[3:7] = -100
    arguments = (tokens, labels, 3.0, 0.5, 0.2, 0.1)
    with torch._inductor.config.patch({"cpp.simdlen": 1}):
        found = torch.compile(head, fullgraph=True)(*arguments)
        assert_same_loss_and_gradients(head, found, head(*arguments))
    torch._dynamo.reset()


def test_fused_loss_works_after_resizing_the_vocabulary():
    model, batch = model_and_batch("decoder", tie_word_embeddings=False)
    model.resize_token_embeddings(VOCAB_SIZE + 3)
    found, wanted = (model(**batch, fused_loss=fused).loss for fused in (True, False))
    assert_same_loss_and_gradients(model, found, wanted)


def test_arguments_and_models_without_fused_loss_are_refused():
    model, batch = model_and_batch("decoder", tie_word_embeddings=False)
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
    ("settings", "supported"),
    [
        ({"target_modules": ["q_proj"]}, True),
        ({"target_modules": ["embed_tokens"]}, True),
        ({"target_modules": ["q_proj", "lm_head"]}, False),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, False),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]}, False),
    ],
    ids=str,
)
def test_adapters_give_the_full_loss_or_are_refused(settings, supported):
    peft = pytest.importorskip("peft")
    model, batch = model_and_batch("decoder")
    adapted = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **settings))
    assert (fused_loss_obstacle(adapted.get_base_model()) is None) == supported
    if supported:
        found, wanted = (adapted(**batch, fused_loss=fused).loss for fused in (True, False))
        assert_same_loss_and_gradients(adapted, found, wanted)
    else:
        with pytest.raises(ValueError, match="lm_head is a peft"):
            adapted(**batch, fused_loss=True)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_trainer_finds_only_labels_as_label_names(architecture):
    # Trainer took an argument of forward called label_smoothing for a label that every evaluation batch must hold
    assert find_labels(LANGUAGE_MODELS[architecture][1]) == ["labels"]


def test_head_with_its_own_compute_logits_is_refused():
    class DoubledLogits(LANGUAGE_MODELS["decoder"][1]):
        def compute_logits(self, hidden_states):
            return 2 * super().compute_logits(hidden_states)

    model = make("decoder", DoubledLogits)
    with pytest.raises(ValueError, match="DoubledLogits computes logits in its own way"):
        model(ids(2, 5), labels=ids(2, 5), fused_loss=True)
