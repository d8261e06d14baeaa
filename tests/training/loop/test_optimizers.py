"""Muon follows its formula, parameters are in the right groups, and a resumed run equals an unbroken one."""

import copy

import pytest
import torch

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.optimizers import MuonAdamW, hidden_matrices, make_optimizer, orthogonalize
from hf_tfm.training.loop.trainer import TfmTrainer
from tests.training.tiny import make_tiny

SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def small_model(**overrides):
    torch.manual_seed(0)
    return TfmDecoderForCausalLM(TfmDecoderConfig.recipe("llama", **SMALL, **overrides))


def training_args(folder, **options):
    return TfmTrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, **options)


def take_steps(model, optimizer, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        ids = torch.randint(0, 40, (2, 8), generator=generator)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    orthogonal = orthogonalize(matrices)
    values = torch.linalg.svdvals(orthogonal)
    assert values.min() > 0.5
    assert values.max() < 1.3
    # same singular vectors: M^T U is symmetric and positive definite for the polar factor U of M
    product = matrices.mT @ orthogonal
    torch.testing.assert_close(product, product.mT, atol=2e-4, rtol=1e-4)
    assert torch.linalg.eigvalsh(product).min() > -1e-3


def test_a_step_follows_the_formula(tmp_path):
    model = small_model()
    args = training_args(tmp_path, weight_decay=0.1, muon_learning_rate=0.02, muon_momentum=0.9)
    optimizer = make_optimizer(model, args)
    name, weight = next(iter(hidden_matrices(model).items()))
    before = weight.detach().clone()
    ids = torch.arange(8)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    gradient = weight.grad.clone()
    optimizer.step()
    # in the first step the Nesterov momentum is parallel to the gradient
    expected = before * (1 - 0.02 * 0.1) - 0.02 * orthogonalize(gradient[None])[0]
    torch.testing.assert_close(weight.detach(), expected, msg=lambda text: f"{name}: {text}")


@pytest.mark.parametrize("tied", [True, False])
def test_hidden_matrices_are_the_linear_layers_of_the_blocks(tied):
    model = small_model(tie_word_embeddings=tied)
    names = set(hidden_matrices(model))
    assert names == {
        f"model.layers.{i}.{layer}.weight"
        for i in range(2)
        for layer in (
            *(f"self_attn.{side}_proj" for side in "qkvo"),
            *(f"mlp.{side}_proj" for side in ("gate", "up", "down")),
        )
    }


def test_muon_trains_experts_and_not_routers():
    names = hidden_matrices(small_model(mlp_type="moe", num_experts=2))
    assert any("experts" in name for name in names)
    assert not any("router" in name for name in names)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_every_parameter_is_in_one_group_and_only_matrices_decay(name, tmp_path):
    model = small_model()
    optimizer = make_optimizer(model, training_args(tmp_path, optimizer=name))
    parameters = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(parameters) == sorted(id(p) for p in model.parameters())
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for p in hidden_matrices(model).values()}


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_a_restored_state_continues_with_the_same_steps(name, tmp_path):
    model = small_model()
    optimizer = make_optimizer(model, training_args(tmp_path, optimizer=name))
    take_steps(model, optimizer, 3)
    twin = copy.deepcopy(model)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    restored = make_optimizer(twin, training_args(tmp_path, optimizer=name))
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    take_steps(model, optimizer, 3, seed=1)
    take_steps(twin, restored, 3, seed=1)
    for (parameter, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other), parameter


def test_schedulers_reach_muon_and_adamw_after_loading(tmp_path):
    optimizer = make_optimizer(small_model(), training_args(tmp_path))
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert isinstance(optimizer, MuonAdamW)
    assert [group["lr"] for group in optimizer.adamw.param_groups] == [0.0]


def test_sharded_parameters_are_refused(tmp_path):
    args = training_args(tmp_path)
    args.fsdp = True
    with pytest.raises(ValueError, match="--optimizer adamw"):
        make_optimizer(small_model(), args)


def make_trainer(folder, **options):
    tiny = make_tiny("causal-lm", [{"text": f"Return the value number {i} of the key."} for i in range(40)])
    args = training_args(
        folder, max_steps=6, save_steps=3, save_total_limit=None, logging_steps=1, eval_strategy="no",
        per_device_train_batch_size=2, warmup_steps=1, **options,
    )  # fmt: skip
    return TfmTrainer(tiny.model(hidden_dropout=0.1), args, tiny.data, tiny.examples, tiny.tokenizer)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "trainer"])
def test_a_resumed_run_equals_an_unbroken_one(optimizer, tmp_path):
    unbroken = make_trainer(tmp_path, optimizer=optimizer)
    unbroken.train()
    resumed = make_trainer(tmp_path, optimizer=optimizer)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.state.global_step == 6
    weights = dict(resumed.model.named_parameters())
    for name, weight in unbroken.model.named_parameters():
        assert torch.equal(weight, weights[name]), name


def test_accumulated_micro_batches_equal_the_whole_batch(tmp_path):
    # without dropout, whose random numbers depend on the shape of the batch
    large = make_trainer(tmp_path / "a", max_grad_norm=0.0)
    small = make_trainer(tmp_path / "b", max_grad_norm=0.0, gradient_accumulation_steps=2)
    for trainer in (large, small):
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    large.args.per_device_train_batch_size = large._train_batch_size = 4
    large.train()
    small.train()
    weights = dict(small.model.named_parameters())
    for name, weight in large.model.named_parameters():
        torch.testing.assert_close(weight, weights[name], atol=1e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")


def test_the_learning_rate_is_constant_and_then_decays_to_zero(tmp_path):
    trainer = make_trainer(tmp_path, decay_fraction=0.5)
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    rates = []
    for _ in range(10):
        rates.append(trainer.lr_scheduler.get_last_lr()[0] / 1e-2)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert rates == pytest.approx([0, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert trainer.lr_scheduler.get_last_lr()[0] == pytest.approx(0)


def test_one_rate_for_weights_with_rates_of_their_own_is_refused(tmp_path):
    tiny = make_tiny("causal-lm")
    model = tiny.model(config_overrides='{"width_scaling": "mup", "mup_base_width": 8}')
    args = training_args(tmp_path, optimizer="trainer")
    with pytest.raises(ValueError, match="--optimizer trainer has one learning rate, and width_scaling gives"):
        TfmTrainer(model, args, tiny.data, tiny.examples, tiny.tokenizer).create_optimizer()
