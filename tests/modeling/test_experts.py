"""Mixtures of experts: all implementations of transformers agree, the router is trained and its logits are recorded.

Legend: N tokens, C hidden size, E experts, K experts per token.
"""

import pytest
import torch
from torch.nn import functional as F

import hf_tfm
from tests.grid import LANGUAGE_MODELS, assert_same, ids, logits_of, make

IMPLEMENTATIONS = ["eager", "grouped_mm", "batched_mm"]
ROWS, LENGTH = 3, 7
MOE = {"mlp_type": "moe", "num_experts": 4, "num_hidden_layers": 2}


def make_batch(architecture, seed=0):
    """A batch whose first row is padded on the right; padding has no labels."""
    tokens = ids(ROWS, LENGTH, seed=seed)
    mask = torch.ones_like(tokens)
    mask[0, 4:] = 0
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}
    if architecture == "seq2seq":
        targets, target_mask = ids(ROWS, 5, seed=seed + 1), torch.ones(ROWS, 5, dtype=torch.long)
        target_mask[1, 3:] = 0
        batch["labels"] = targets.masked_fill(target_mask == 0, -100)
        batch["decoder_attention_mask"] = target_mask
    return batch


def forward_backward(model, batch):
    """The model's output, and all gradients by name."""
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return output, gradients


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("fields", [{}, {"shared_expert_intermediate_size": 24, "norm_topk_prob": False}], ids=str)
def test_implementations_agree_in_loss_and_gradients(architecture, fields):
    model, batch = make(architecture, **MOE, **fields), make_batch(architecture)
    model.set_experts_implementation("eager")
    wanted, gradients = forward_backward(model, batch)
    for name in IMPLEMENTATIONS[1:]:
        model.set_experts_implementation(name)
        assert model.config._experts_implementation == name
        found, others = forward_backward(model, batch)
        assert_same(found.logits, wanted.logits, what=f"logits of {name}")
        assert_same(found.loss, wanted.loss, what=f"loss of {name}")
        for parameter, gradient in gradients.items():
            assert_same(others[parameter], gradient, what=f"{name}: gradient of {parameter}")


def test_experts_implementation_can_be_given_to_from_pretrained(tmp_path):
    make("decoder", **MOE).save_pretrained(tmp_path)
    for name in IMPLEMENTATIONS:
        model = hf_tfm.TfmDecoderForCausalLM.from_pretrained(tmp_path, experts_implementation=name)
        assert model.config._experts_implementation == name
    with pytest.raises(ValueError, match="nonsense"):
        model.set_experts_implementation("nonsense")


def first_mixture(model):
    return next(module for module in model.modules() if type(module).__name__ == "MixtureOfExperts")


def reference_mixture(mlp, tokens, normalised):
    """For each token: sum over its K most likely experts of weight x down(silu(gate) up)."""
    chosen, outputs = mlp.gate.top_k, []
    for token in tokens:
        weights, index = (mlp.gate.weight @ token).softmax(-1).topk(chosen)
        weights = weights / weights.sum() if normalised else weights
        output = torch.zeros_like(token)
        for weight, expert in zip(weights, index, strict=True):
            gate, up = (mlp.experts.gate_up_proj[expert] @ token).chunk(2)
            output = output + weight * (mlp.experts.down_proj[expert] @ (F.silu(gate) * up))
        outputs.append(output)
    return torch.stack(outputs)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("chosen", [1, 2, 4])
@pytest.mark.parametrize("number", [1, 6])
def test_mixture_is_the_weighted_sum_of_the_chosen_experts(implementation, normalised, chosen, number):
    model = make("decoder", **MOE, num_experts_per_tok=chosen, norm_topk_prob=normalised)
    model.set_experts_implementation(implementation)
    mlp, tokens = first_mixture(model), torch.randn(1, number, 32)
    with torch.no_grad():
        assert_same(mlp(tokens)[0], reference_mixture(mlp, tokens[0], normalised), what="mixture")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_top_k_of_all_experts_is_a_dense_mixture(implementation):
    model = make("decoder", **MOE, num_experts_per_tok=4)
    model.set_experts_implementation(implementation)
    mlp, tokens = first_mixture(model), torch.randn(1, 5, 32)
    with torch.no_grad():
        probabilities = F.linear(tokens[0], mlp.gate.weight).softmax(-1)
        gate, up = torch.einsum("eic,nc->nei", mlp.experts.gate_up_proj, tokens[0]).chunk(2, -1)
        outputs = torch.einsum("eci,nei->nec", mlp.experts.down_proj, F.silu(gate) * up)
        assert_same(mlp(tokens)[0], (probabilities[..., None] * outputs).sum(1), what="dense mixture")


def test_top_1_expert_has_weight_one_or_its_probability():
    fields = {**MOE, "num_experts_per_tok": 1}
    full, weighted = (first_mixture(make("decoder", **fields, norm_topk_prob=n)) for n in (True, False))
    tokens = torch.randn(1, 6, 32)
    with torch.no_grad():
        probability = F.linear(tokens, full.gate.weight).softmax(-1).amax(-1, keepdim=True)
        assert_same(weighted(tokens), probability * full(tokens), what="weighted output")


def test_gated_shared_expert_is_added():
    mlp, tokens = first_mixture(make("decoder", **MOE, shared_expert_intermediate_size=24)), torch.randn(1, 6, 32)
    shared = mlp.shared_expert
    with torch.no_grad():
        dense = shared.down_proj(F.silu(shared.gate_proj(tokens)) * shared.up_proj(tokens))
        wanted = reference_mixture(mlp, tokens[0], True) + (torch.sigmoid(shared.gate(tokens)) * dense)[0]
        assert_same(mlp(tokens)[0], wanted, what="mixture with the shared expert")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_expert_without_tokens_has_zero_gradients(implementation):
    model = make("decoder", **MOE)
    model.set_experts_implementation(implementation)
    mlp, tokens = first_mixture(model), torch.rand(2, 5, 32) + 0.1
    with torch.no_grad():
        mlp.gate.weight[0] = -10.0
    mlp(tokens).square().sum().backward()
    for name, parameter in mlp.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"gradient of {name} is not finite"
    used = [e in mlp.gate(tokens.flatten(0, 1))[2] for e in range(4)]
    assert not used[0]
    assert sum(used) >= 2
    for parameter in (mlp.experts.gate_up_proj, mlp.experts.down_proj):
        assert parameter.grad.flatten(1).abs().amax(1).gt(0).tolist() == used, (
            "only experts with tokens have a gradient"
        )


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_router_logits_are_recorded_with_one_row_per_token(architecture):
    model, batch = make(architecture, **MOE), make_batch(architecture)
    output = model(**batch)
    joined = {"encoder_router_logits": LENGTH, "decoder_router_logits": 5}
    sizes = joined if architecture == "seq2seq" else {"router_logits": LENGTH}
    for name, length in sizes.items():
        assert [tuple(logits.shape) for logits in output[name]] == [(ROWS * length, 4)] * 2, name


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_only_layers_with_experts_record_router_logits_and_load_balancing(architecture):
    layers = [False, True, False, True]
    model = make(architecture, **{**MOE, "num_hidden_layers": 4}, moe_layers=layers)
    batch = make_batch(architecture)
    output = model(**batch)
    assert len(output.router_logits) == 2
    assert [hasattr(layer.mlp, "experts") for layer in model.model.layers] == layers
    assert_same(
        output.aux_loss,
        reference_load_balancing_loss(output.router_logits, batch["attention_mask"]),
        1e-5,
        "load balancing",
    )


def reference_load_balancing_loss(router_logits, mask, chosen=2):
    """E sum_e f_e P_e over the real tokens of all layers. f_e: share of tokens with expert e among their K most likely
    ones; P_e: mean probability of e."""
    real = mask.flatten().bool()
    probabilities = torch.cat([layer[real] for layer in router_logits]).softmax(-1)
    likeliest = probabilities.sort(descending=True).indices[:, :chosen]
    experts = probabilities.shape[-1]
    shares = torch.stack([(likeliest == e).any(-1).float().mean() for e in range(experts)])
    return experts * (shares * probabilities.mean(0)).sum()


@pytest.mark.parametrize("chosen", [1, 2, 4])
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_load_balancing_counts_real_tokens_only_and_is_part_of_the_loss(architecture, chosen):
    fields = {**MOE, "num_experts_per_tok": chosen, "router_aux_loss_coef": 0.5}
    model, batch = make(architecture, **fields), make_batch(architecture)
    with torch.no_grad():
        output = model(**batch)
        model.load_balancing.coefficient = 0.0
        without_balancing = model(**batch).loss
    losses = {"aux_loss": ("router_logits", "attention_mask")}
    if architecture == "seq2seq":
        losses = {
            "encoder_aux_loss": ("encoder_router_logits", "attention_mask"),
            "decoder_aux_loss": ("decoder_router_logits", "decoder_attention_mask"),
        }
    for name, (logits, mask) in losses.items():
        wanted = reference_load_balancing_loss(output[logits], batch[mask], chosen)
        assert_same(output[name], wanted, 1e-5, name)
        unmasked = reference_load_balancing_loss(output[logits], torch.ones_like(batch[mask]), chosen)
        assert chosen == 4 or (wanted - unmasked).abs() > 1e-5, "padding makes no difference here"
    assert_same(output.loss, without_balancing + 0.5 * sum(output[name] for name in losses), 1e-5, "loss")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_frozen_router_does_not_stop_training(architecture, implementation):
    model, batch = make(architecture, **MOE).train(), make_batch(architecture)
    model.set_experts_implementation(implementation)
    routers = {
        name: p.requires_grad_(False) for name, p in model.named_parameters() if name.endswith("mlp.gate.weight")
    }
    before = {name: router.clone() for name, router in routers.items()}
    assert len(routers) == (4 if architecture == "seq2seq" else 2)
    optimizer, losses = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2), []
    for _ in range(4):
        output, gradients = forward_backward(model, batch)
        aux_losses = [output[name] for name in output if name.endswith("aux_loss")]
        assert aux_losses
        assert all(loss.isfinite() for loss in aux_losses)
        assert [name for name, gradient in gradients.items() if gradient is None] == list(routers)
        optimizer.step()
        losses.append(output.loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(router, before[name]) for name, router in routers.items())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_token_gives_the_logits_of_the_first_of_many(implementation):
    model, tokens = make("decoder", **MOE), ids(1, LENGTH)
    model.set_experts_implementation(implementation)
    with torch.no_grad():
        assert_same(model(tokens[:, :1]).logits, model(tokens).logits[:, :1], what="logits of the first token")


@pytest.mark.parametrize(
    ("architecture", "fields", "named"),
    [
        ("decoder", {"intermediate_size": 18}, "'moe_intermediate_size': 18"),
        ("encoder", {"moe_intermediate_size": 17}, "'moe_intermediate_size': 17"),
        ("decoder", {"hidden_size": 36, "head_dim": 8}, "'hidden_size': 36"),
        (
            "seq2seq",
            {"decoder_hidden_size": 20, "tie_encoder_decoder_embeddings": False, "decoder_head_dim": 8},
            "'decoder_h",
        ),
    ],
)
def test_widths_that_grouped_products_refuse_are_computed_one_expert_at_a_time(architecture, fields, named):
    model, batch = make(architecture, **MOE, **fields), make_batch(architecture)
    assert model.config._experts_implementation == "eager"
    wanted, _ = forward_backward(model, batch)
    with pytest.raises(ValueError, match=rf'"grouped_mm".*multiples of 8; got .*{named}.*"batched_mm"'):
        model.set_experts_implementation("grouped_mm")
    model.set_experts_implementation("batched_mm")
    found, _ = forward_backward(model, batch)
    assert_same(found.loss, wanted.loss, what="loss of batched_mm")
    half = model.bfloat16()
    assert half(**batch).loss.isfinite()


def test_experts_made_in_float64_run_on_the_eager_kernel():
    # torch's grouped product takes no float64
    torch.set_default_dtype(torch.float64)
    try:
        model = make("decoder", mlp_type="moe", moe_intermediate_size=16)
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.config._experts_implementation == "eager"
    assert logits_of(model, ids(1, 6)).dtype == torch.float64
    with pytest.raises(ValueError, match="float64"):
        model.set_experts_implementation("grouped_mm")
