"""The average of the weights follows its formula, and replaces the weights only when it is evaluated or saved."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, TrainerState

from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.adapters import add_adapter, merge_adapter
from hf_tfm.training.loop.ema import EMA_FILE, ExponentialMovingAverage
from hf_tfm.training.loop.trainer import TfmTrainer
from tests.training.tiny import make_tiny


@pytest.fixture(scope="module")
def tiny():
    return make_tiny("causal-lm")


def trainer_of(tiny, folder, model=None, **options):
    training_args = TfmTrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, ema_decay=0.5, max_steps=4,
        save_steps=2, save_total_limit=None, per_device_train_batch_size=2, warmup_steps=0,
        **{"eval_strategy": "no"} | options,
    )  # fmt: skip
    return TfmTrainer(model or tiny.model(), training_args, tiny.data, tiny.examples, tiny.tokenizer)


def weights_of(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_average_follows_its_formula():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    ema, state = ExponentialMovingAverage(layer, 0.25), TrainerState()
    for step, value in enumerate((2.0, 3.0, 5.0), 1):
        with torch.no_grad():
            layer.weight.fill_(value)
        state.global_step = step
        ema.on_step_end(None, state, None)
    # decays min(0.25, (1 + step) / (10 + step)): 2/11, then 3/12, then 0.25 because 4/13 is larger
    expected = 1 * 2 / 11 + 2 * 9 / 11
    expected = expected * 0.25 + 3 * 0.75
    expected = expected * 0.25 + 5 * 0.75
    assert ema.averages["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_swapping_twice_changes_no_bit(tiny):
    model = tiny.model()
    ema = ExponentialMovingAverage(model, 0.9)
    for average in ema.averages.values():
        average.mul_(0.1).add_(1 / 3)
    weights, averages = weights_of(model), {name: average.clone() for name, average in ema.averages.items()}
    with ema.average_parameters():
        # nested, as when samples are shown during an evaluation
        with ema.average_parameters():
            assert same(weights_of(model), averages)
        assert same(weights_of(model), averages)
        assert same(ema.averages, weights)
    assert same(weights_of(model), weights)
    assert same(ema.averages, averages)


@pytest.mark.parametrize("tied", [True, False])
def test_the_result_has_the_average_and_a_checkpoint_has_both(tiny, tmp_path, tied):
    trainer = trainer_of(tiny, tmp_path, tiny.model(tie_word_embeddings=tied))
    trainer.train()
    trainer.save_model()
    last, averages = weights_of(trainer.model), trainer.ema.averages
    assert not same(last, averages)
    assert ("lm_head.weight" in averages) is not tied
    assert same(weights_of(AutoModelForCausalLM.from_pretrained(tmp_path)), averages)
    assert same(weights_of(AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-4")), last)
    assert same(load_file(tmp_path / "checkpoint-4" / EMA_FILE), averages)


def test_the_average_is_evaluated(tiny, tmp_path):
    trainer = trainer_of(tiny, tmp_path)
    trainer.train()
    loss = trainer.evaluate_split("test", "test")["test_loss"]
    trainer.save_model()
    saved = trainer_of(tiny, tmp_path / "again", AutoModelForCausalLM.from_pretrained(tmp_path))
    assert saved.evaluate_split("test", "test")["test_loss"] == loss
    trainer.ema = None
    assert trainer.evaluate_split("test", "test")["test_loss"] != loss


def test_the_average_of_a_resumed_run_equals_that_of_an_unbroken_one(tiny, tmp_path):
    unbroken = trainer_of(tiny, tmp_path)
    unbroken.train()
    resumed = trainer_of(tiny, tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert same(resumed.ema.averages, unbroken.ema.averages)


def test_the_best_checkpoint_is_loaded_with_its_average(tiny, tmp_path):
    # The loss decreases, so with greater_is_better the first checkpoint is the best.
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    trainer = trainer_of(tiny, tmp_path, **best, eval_strategy="steps", eval_steps=2)
    trainer.train()
    assert trainer.state.best_global_step == 2
    assert same(trainer.ema.averages, load_file(tmp_path / "checkpoint-2" / EMA_FILE))


def test_an_average_of_other_weights_is_refused(tiny, tmp_path):
    ema = ExponentialMovingAverage(tiny.model(), 0.9)
    ema.save(str(tmp_path))
    del ema.averages["model.norm.weight"]
    with pytest.raises(ValueError, match=rf"{EMA_FILE} averages other weights.*model\.norm\.weight"):
        ema.load(str(tmp_path))


def test_a_merged_adapter_is_the_average_of_the_adapter(tiny, tmp_path):
    base = tiny.model()
    model = add_adapter(base, ModelArguments(peft="lora", init_from="somewhere", lora_r=2), tiny.objective)
    trainer = trainer_of(tiny, tmp_path, model, optimizer="adamw", learning_rate=0.1)
    trainer.train()
    loss = trainer.evaluate_split("test", "test")["test_loss"]
    with trainer.ema_weights():
        merge_adapter(trainer)
    trainer.save_model()
    saved = trainer_of(tiny, tmp_path / "again", AutoModelForCausalLM.from_pretrained(tmp_path))
    assert saved.evaluate_split("test", "test")["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "tfm_decoder"


def test_sharded_weights_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="--ema_decay"):
        trainer_of(tiny, tmp_path, fsdp_size=2, optimizer="adamw")
