"""Verdicts over arms, from made outcomes: what is named, what is not, and that no run is dropped in silence."""

import math

import pytest

from hf_tfm.comparison.arms import Arm
from hf_tfm.comparison.files import read_failures, runs_csv, write_files
from hf_tfm.comparison.plan import Plan, PlannedArm
from hf_tfm.comparison.report import report_text
from hf_tfm.comparison.results import compare_arms
from hf_tfm.comparison.runs import SWEEP_SEED, Outcome, needed_runs, read_outcomes, run_arguments

NOISE = (0.0, 0.01, -0.02, 0.015, 0.005)


def plan_of(*names, seeds=5, lower_is_better=True):
    request = {
        "arms": {name: {} for name in names}, "options": [], "budget": "1e9 FLOPs", "seeds": seeds, "rates": 3,
        "most_rates": 5, "rate_factor": 2.0, "probes": [], "processes": 1,
    }  # fmt: skip
    arms = [PlannedArm(Arm(name), 1000, 2000.0, 64.0, 50, {"learning_rate": 0.01}, 0.1, "data") for name in names]
    return Plan(request, arms, "loss", lower_is_better, "causal-lm", "made rows")


def run_plan(plan, result_of):
    """Outcomes of all runs that the plan needs. `result_of`: a loss, or an outcome, for an arm, a rate and a seed."""
    outcomes = {}
    while waiting := [run for run in needed_runs(plan, outcomes) if run not in outcomes]:
        for run in waiting:
            found = result_of(run.arm, run.rate, run.seed)
            outcomes[run] = found if isinstance(found, Outcome) else Outcome("finished", {"loss": found}, 1.0)
    return outcomes


def loss(arm, rate, seed, effects):
    """A parabola in the rate, an effect of the arm, and noise of the seed, most of it shared by all arms."""
    own = 0.001 * (((3 * ord(arm[-1]) + 5 * seed * len(arm) + seed**2 * ord(arm[0])) % 7) - 3)
    return 2 + 0.1 * rate**2 + effects.get(arm, 0.0) + 5 * NOISE[seed % 5] + own


def test_effects_are_told_apart_and_the_winner_is_named():
    plan = plan_of("base", "good", "bad", "same!")
    outcomes = run_plan(plan, lambda *run: loss(*run, {"good": -0.05, "bad": 0.05}))
    results = compare_arms(plan, outcomes)
    assert [item.verdict for item in results] == ["baseline", "better", "worse", "not told apart"]
    assert results[1].difference.mean == pytest.approx(-0.05, abs=0.004)
    assert results[0].spread > 5 * results[1].difference.spread, "pairs share the noise of a seed"
    text = report_text(plan, results, outcomes, "runs/compare")
    assert "Go on with good" in text
    assert "\npython train.py " in text
    plan.request["processes"] = 2
    assert "\ntorchrun --nproc_per_node 2 train.py " in report_text(plan, results, outcomes, "runs/compare")
    assert "--learning_rate 0.01 --max_steps 50 --seed 1" in text
    assert len(runs_csv(plan, outcomes).splitlines()) == 1 + 4 * (3 + 5)


def test_more_is_better_where_the_measure_says_so():
    plan = plan_of("base", "high", lower_is_better=False)
    outcomes = run_plan(plan, lambda arm, rate, seed: 5 - loss(arm, rate, seed, {"high": -0.05}))
    assert compare_arms(plan, outcomes)[1].verdict == "better"


@pytest.mark.parametrize(
    ("arm", "words"), [("good", "best rate at the edge"), ("base", "the baseline's best rate at the edge")]
)
def test_an_arm_whose_best_rate_is_at_the_edge_is_not_named(arm, words):
    plan = plan_of("base", "good")
    outcomes = run_plan(plan, lambda *run: loss(*run, {"good": -0.5}) - (run[0] == arm) * (run[1] + 0.1 * run[1] ** 2))
    results = compare_arms(plan, outcomes)
    assert results[1].verdict == words
    assert "(edge)" in report_text(plan, results, outcomes, "runs/compare")


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_runs_that_do_not_finish_are_results(tmp_path, state):
    plan = plan_of("base", "good")
    lost = Outcome(state, {"loss": math.nan} if state == "diverged" else {}, message="The reason.")
    outcomes = run_plan(
        plan, lambda *run: lost if run[::2] == ("good", 2) or run[1] > 0 else loss(*run, {"good": -0.5})
    )
    results = compare_arms(plan, outcomes)
    assert results[1].verdict == f"1 of 5 {state}"
    assert results[1].states == {"finished": 4, "diverged": 0, "failed": 0} | {state: 1}
    assert results[1].difference.pairs == 4
    text = report_text(plan, results, outcomes, "runs/compare")
    assert f"- good/seed-2: {state}. The reason." in text
    assert "Go on with base" in text
    assert results[0].sweep.sensitivity == math.inf
    write_files(plan, results, outcomes, tmp_path)
    failures = {run: item for run, item in outcomes.items() if item.state == "failed"}
    assert read_failures(plan, tmp_path) == failures
    # what failed left nothing, and the same command tries it again
    assert read_outcomes(plan, tmp_path) == {}
    assert read_outcomes(plan, tmp_path, failures).keys() <= failures.keys()


def test_an_arm_that_diverges_at_every_rate_has_no_seeds():
    plan = plan_of("base", "wild")
    outcomes = run_plan(plan, lambda *run: Outcome("diverged") if run[0] == "wild" else loss(*run, {}))
    results = compare_arms(plan, outcomes)
    assert results[1].verdict == "every rate diverged or failed"
    assert sum(run.arm == "wild" for run in outcomes) == 5


def test_an_unfinished_comparison_names_nothing():
    plan = plan_of("base", "good")
    outcomes = run_plan(plan, lambda *run: loss(*run, {"good": -0.5}))
    missing = {run: item for run, item in outcomes.items() if (run.arm, run.seed) != ("good", 5)}
    assert compare_arms(plan, missing)[1].verdict == "seeds not finished"
    swept = {run: item for run, item in outcomes.items() if run.arm == "base" or run.rate}
    assert compare_arms(plan, swept)[1].verdict == "rates not finished"
    assert compare_arms(plan, {})[0].verdict == "baseline"


def test_rates_are_chosen_on_a_seed_that_is_not_compared():
    plan = plan_of("base", "good")
    assert SWEEP_SEED not in plan.seeds
    [run, *_] = needed_runs(plan, {})
    arguments = run_arguments(plan, plan.baseline, run, "out")
    assert arguments[:4] == ["--learning_rate", "0.005", "--max_steps", "50"]
