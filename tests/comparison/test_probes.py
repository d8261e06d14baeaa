"""Probes: each measures what it says, is written once, and needs one entry of the registry."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM
from hf_tfm.comparison.files import write_files
from hf_tfm.comparison.plan import read_plan, write_plan
from hf_tfm.comparison.plots import plot_comparison
from hf_tfm.comparison.probes import PROBES, Probe, chosen_probes
from hf_tfm.comparison.probes import recall as recall_file
from hf_tfm.comparison.probes.base import ProbeResult, summed_losses
from hf_tfm.comparison.probes.induction import Induction
from hf_tfm.comparison.probes.length import Length
from hf_tfm.comparison.probes.recall import KEYS, PAIRS, Recall, recall_sequences, small_config
from hf_tfm.comparison.probes.results import measure_probes, read_probe
from hf_tfm.comparison.report import report_text
from hf_tfm.comparison.results import compare_arms
from hf_tfm.comparison.runs import Outcome
from hf_tfm.modeling.recipes import RECIPES

from .test_results import plan_of, run_plan

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
TRAINING = SimpleNamespace(use_cpu=True, output_dir="unused", task="causal-lm", seed=1)


def run_of(config=None, model=None, **options):
    arguments = SimpleNamespace(training=TRAINING, task=SimpleNamespace(block_size=8))
    return SimpleNamespace(run_args=arguments, seed=1, device="cpu", config=config, model=model, **options)


def test_recall_sequences_ask_for_values_that_were_read():
    ids, labels = recall_sequences(20, 3).tensors
    for row, answers in zip(ids.tolist(), labels.tolist(), strict=True):
        pairs = dict(zip(row[: 2 * PAIRS : 2], row[1 : 2 * PAIRS : 2], strict=True))
        assert len(pairs) == len(set(pairs.values())) == PAIRS
        assert all(key < KEYS <= value for key, value in pairs.items())
        asked = [pairs[key] for key in row[2 * PAIRS : 3 * PAIRS]]
        assert answers == [-100] * (2 * PAIRS + 1) + asked
    assert not torch.equal(ids, recall_sequences(20, 4).tensors[0])


def test_recall_needs_two_layers(monkeypatch):
    two = TfmDecoderConfig.recipe("llama", **SIZES)
    assert Recall().measure(run_of(two)).measures["recall_accuracy"] >= 0.95
    # more steps than two layers need
    monkeypatch.setattr(recall_file, "STEPS", 120)
    one = TfmDecoderConfig.recipe("llama", **SIZES | {"num_hidden_layers": 1})
    assert Recall().measure(run_of(one)).measures["recall_accuracy"] == pytest.approx(1 / PAIRS, abs=0.05)


@pytest.mark.parametrize("name", [name for name, (kinds, _) in RECIPES.items() if "tfm_decoder" in kinds])
def test_recall_keeps_every_design_but_its_width(name):
    config = TfmDecoderConfig.recipe(name, hidden_size=192, num_hidden_layers=4, num_attention_heads=6)
    small = small_config(config)
    assert (small.hidden_size, small.head_dim, small.vocab_size) == (96, 16, 32)
    kept = ("num_hidden_layers", "num_attention_heads", "position_type", "residual_type", "mlp_type", "norm_type")
    assert [getattr(small, field) for field in kept] == [getattr(config, field) for field in kept]
    ids, labels = recall_sequences(2, 0).tensors
    assert TfmDecoderForCausalLM(small)(ids, labels=labels).loss.isfinite()


def test_induction_is_what_a_repetition_saves():
    """A model that copies the token 64 places before, and knows nothing else."""

    def copies(ids):
        logits = torch.zeros(*ids.shape, 50)
        # place t predicts the token of place t + 1, which is that of t + 1 - 64
        logits[:, 63:].scatter_(-1, ids[:, : ids.shape[1] - 63, None], 100.0)
        return SimpleNamespace(logits=logits)

    copies.device = "cpu"
    config = SimpleNamespace(vocab_size=50, max_position_embeddings=512)
    found = Induction().measure(run_of(config, copies)).measures["induction"]
    assert found == pytest.approx(-math.log(50), abs=1e-4)


class Characters:
    """Token = code of the character."""

    eos_token_id = 0

    def __call__(self, texts, **options):
        return {"input_ids": [list(map(ord, text)) for text in texts]}


def length_run(position_type, text="abcdefgh" * 8):
    torch.manual_seed(0)
    config = TfmDecoderConfig.recipe(
        "llama", **SIZES | {"vocab_size": 128}, max_position_embeddings=8, position_type=position_type
    )
    data = SimpleNamespace(splits={"validation": [{"text": text}, {"text": "zyx"}]})
    return run_of(config, TfmDecoderForCausalLM(config).eval(), data=data, tokenizer=Characters())


def test_every_length_scores_the_same_tokens_from_their_own_context(monkeypatch):
    run, rows = length_run("alibi"), []
    known = "hf_tfm.comparison.probes.length.summed_losses"
    monkeypatch.setattr(known, lambda model, *given: rows.append(given) or summed_losses(model, *given))
    measures = Length().measure(run).measures
    tokens = [0, *map(ord, "abcdefgh" * 8), 0, *map(ord, "zyx"), 0]
    for times, (ids, labels) in zip((1, 2, 4), rows, strict=True):
        assert ids.shape[1] == 8 * times
        assert labels[labels != -100].tolist() == tokens[1:]
        logits = run.model(ids).logits.log_softmax(-1)
        nats = -sum(float(logits[r, t - 1, ids[r, t]]) for r, t in (labels != -100).nonzero().tolist())
        assert measures[f"length_{times}x"] == pytest.approx(nats / math.log(2) / 67, rel=1e-5)
    assert measures["length_4x_rise"] == measures["length_4x"] - measures["length_1x"]


@pytest.mark.parametrize(
    ("position", "text", "reason", "possible"),
    [
        ("learned", "abcdefgh" * 8, "the table of learned positions ends at 8 tokens, before 2x", 1),
        ("none", "abcdefgh", "the validation text has 14 tokens, fewer than one row of 2x", 1),
        ("none", "abcdefgh" * 3, "the validation text has 30 tokens, fewer than one row of 4x", 2),
    ],
)
def test_length_says_what_it_cannot_measure(position, text, reason, possible):
    result = Length().measure(length_run(position, text))
    assert result.reason.startswith(reason)
    assert [math.isfinite(result.measures[f"length_{times}x"]) for times in (1, 2, 4)] == [True] * possible + [
        False
    ] * (3 - possible)
    assert ProbeResult.from_values(json.loads(json.dumps(result.values()))).reason == result.reason


class Parity(Probe):
    """A probe of a user."""

    name = "parity"
    labels = {"parity": "whether the seed is odd"}
    calls = 0

    def measure(self, run):
        Parity.calls += 1
        return ProbeResult({"parity": float(run.seed % 2)})


def test_a_new_probe_is_one_entry_of_the_registry(tmp_path, monkeypatch):
    monkeypatch.setitem(PROBES, "parity", Parity)
    assert chosen_probes("parity") == ("parity",)
    assert chosen_probes("all") == ("recall", "induction", "length", "parity")
    run_args = SimpleNamespace(training=SimpleNamespace(**vars(TRAINING) | {"output_dir": tmp_path}), task=None)
    monkeypatch.setattr("hf_tfm.comparison.probes.base.OBJECTIVES", {"causal-lm": lambda task, seed: None})
    for _ in range(2):
        measure_probes(run_args, ["parity"])
    assert Parity.calls == 1, "a result in the folder is not measured again"
    assert read_probe(tmp_path, "parity") == ProbeResult({"parity": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == ["probe_parity.json"]


def test_what_an_arm_cannot_do_is_said_with_its_reason_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_tfm.comparison.plots.evaluations", lambda path, measure: {1: 3.0, 2: 2.0})
    plan = plan_of("base", "short")
    plan.request["probes"] = ["induction", "length"]

    def outcome(arm, rate, seed):
        bits = {f"length_{times}x": 2.0 + 0.01 * seed + (arm == "base") for times in (1, 2, 4)}
        bits |= {"length_2x_rise": 0.0, "length_4x_rise": 0.0, "induction": -seed}
        lost = {name: math.nan for name in bits if arm == "short" and name not in ("induction", "length_1x")}
        loss = 2 + 0.1 * rate**2 + 0.01 * seed
        return Outcome("finished", {"loss": loss} | bits | lost, 1.0, cannot=("it ends",) if lost else ())

    outcomes = run_plan(plan, outcome)
    results = compare_arms(plan, outcomes)
    text = report_text(plan, results, outcomes, "out")
    assert "| length_4x      | short | cannot  |" in text
    assert "- short cannot: it ends." in text
    assert "| length_1x      | short | 2.0300  | 0.0158 | -1.0000    |" in text
    write_files(plan, results, outcomes, tmp_path)
    assert json.loads((tmp_path / "compare.json").read_text())["probes"][-1]["cannot"] == "it ends"
    pixels = [plot_comparison(plan, results, outcomes, tmp_path).read_bytes()[16:24]]
    plan.request["probes"] = []
    pixels.append(plot_comparison(plan, results, outcomes, tmp_path).read_bytes()[16:24])
    assert pixels[0] > pixels[1], "probes have a row of panels of their own"
    assert "## Probes" not in report_text(plan, results, outcomes, "out")


def test_a_plan_from_before_there_were_probes_has_none(tmp_path):
    plan = plan_of("base", "other")
    del plan.request["probes"]
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path).request["probes"] == []
