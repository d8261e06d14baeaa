"""Many blocks train together: 24 here, 200 with `pytest -m depth` (an hour on one core)."""

import functools
import math
from dataclasses import replace

import pytest
import torch

from hf_tfm.benchmark.deep_training import WIRINGS, DepthSettings, Text, train_wiring, unigram_nats
from hf_tfm.benchmark.depth import begun, ratios, still_falling, table, write
from hf_tfm.benchmark.pictures import draw_depth

# one process for these tests: each would train the models of its own
pytestmark = pytest.mark.xdist_group("depth")

WHOLE = DepthSettings()
SMALL = replace(WHOLE, blocks=24, steps=60, warmup_steps=10)
SOUND = ("pre", "deepnorm")


def pytest_generate_tests(metafunc):
    """A test with the argument `settings` trains 24 blocks, and under -m depth 200."""
    if "settings" in metafunc.fixturenames:
        whole = metafunc.config.option.markexpr == "depth"
        chosen = pytest.param(WHOLE, id="200", marks=pytest.mark.depth) if whole else pytest.param(SMALL, id="24")
        metafunc.parametrize("settings", [chosen])


@functools.cache
def text_of(settings):
    return Text(settings)


@functools.cache
def trained(name, settings):
    return train_wiring(name, settings, text_of(settings))


@pytest.mark.parametrize("name", SOUND)
def test_deep_models_learn_more_than_frequencies(name, settings):
    run, entropy = trained(name, settings), text_of(settings).unigram["entropy"]
    assert run["test"] < entropy - 0.3
    assert still_falling(run), run["validation"]


@pytest.mark.parametrize("name", SOUND)
def test_first_and_last_block_have_comparable_gradients(name, settings):
    run = trained(name, settings)
    assert len(run["gradient_norms"]) == 1 + settings.steps // settings.log_every
    assert {len(norms) for norms in run["gradient_norms"].values()} == {settings.blocks}
    around = ratios(run)
    assert 0.1 <= min(around) <= max(around) <= 10, around


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_ever_infinite(name, settings):
    run = trained(name, settings)
    assert run["broken_at"] is None
    assert all(math.isfinite(loss) for loss in [*run["loss"].values(), *run["validation"].values(), run["test"]])


def test_post_norm_without_deepnorm_ends_worse(settings):
    post = trained("post", settings)
    assert post["broken_at"] or post["test"] > trained("deepnorm", settings)["test"] + 0.3


def test_branches_change_the_stream_alike_at_every_depth():
    for blocks in (48, 200, 1000):
        pre, deepnorm = WIRINGS["pre"], WIRINGS["deepnorm"]
        weight = pre.words(blocks, 64)["residual_scale"]
        assert 2 * blocks * weight * pre.muon_learning_rate(blocks) == pytest.approx(0.24)
        alpha = (2 * blocks) ** 0.25
        assert 2 * blocks / alpha * deepnorm.muon_learning_rate(blocks) == pytest.approx(0.48)


def test_unigram_of_equal_counts_is_the_logarithm_of_their_number():
    counts = torch.tensor([5.0, 5.0, 5.0, 5.0, 0.0])
    marks = unigram_nats(learnt=torch.tensor([9.0, 9.0, 9.0, 9.0, 0.0]), scored=counts)
    assert marks["entropy"] == pytest.approx(math.log(4))
    assert marks["learnt"] == pytest.approx(math.log(41 / 10))


def a_report(settings):
    norms = {str(step): [1.0, 2.0, 4.0] for step in (1, 10, 20)}
    losses = {"10": 7.0, "20": 6.0}
    run = {"test": 5.9, "loss": losses, "validation": losses, "gradient_norms": norms, "broken_at": None, "seconds": 1}
    return {
        "settings": vars(settings).copy(),
        "unigram": {"entropy": 6.3, "learnt": 6.4},
        "runs": {"pre": run, "post": {**run, "broken_at": 20, "validation": {}}},
    }


def test_table_and_picture_tell_every_wiring(tmp_path):
    report = a_report(SMALL)
    assert "| pre | 5.900 | 0.400 | 0.25 to 0.25 | yes | yes | 1 |" in table(report)
    assert "until step 20" in table(report)
    draw_depth(report, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").stat().st_size > 1000


def test_a_report_is_continued_with_its_own_settings_only(tmp_path):
    path, report = tmp_path / "new" / "depth.json", a_report(SMALL)
    assert begun(path, SMALL) == {"settings": vars(SMALL), "runs": {}}
    write(path, report)
    assert begun(path, SMALL) == report
    with pytest.raises(ValueError, match=r"other settings.*'blocks': 24"):
        begun(path, WHOLE)
