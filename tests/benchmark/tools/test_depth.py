"""Deep decoders train: 16 layers here, 200 with `pytest -m depth` (an hour on one core)."""

import functools
import json
import math
from dataclasses import replace

import pytest
import torch

from hf_tfm.benchmark.harness.plots import plot_depth
from hf_tfm.benchmark.tools.depth import (
    gradient_norm_ratios,
    is_still_falling,
    load_or_start_report,
    table,
)
from hf_tfm.benchmark.tools.depth_training import (
    DepthData,
    DepthSettings,
    muon_learning_rate,
    train_variant,
    unigram_nats_per_token,
    variant_fields,
)

# one process for these tests, since they share trained models
pytestmark = pytest.mark.xdist_group("depth")

FULL = DepthSettings()
SMALL = replace(FULL, layers=16, steps=60, warmup_steps=10)
DEEP_VARIANTS = ("pre", "deepnorm")


def pytest_generate_tests(metafunc):
    """A test with the argument `settings` trains 16 layers, and with -m depth 200."""
    if "settings" in metafunc.fixturenames:
        is_full = metafunc.config.option.markexpr == "depth"
        settings = pytest.param(FULL, id="200", marks=pytest.mark.depth) if is_full else pytest.param(SMALL, id="16")
        metafunc.parametrize("settings", [settings])


@functools.cache
def data_of(settings):
    return DepthData(settings)


@functools.cache
def trained(variant, settings):
    return train_variant(variant, settings, data_of(settings))


@pytest.mark.parametrize("variant", DEEP_VARIANTS)
def test_deep_models_beat_the_unigram_entropy(variant, settings):
    run, entropy = trained(variant, settings), data_of(settings).unigram["entropy"]
    assert run["test"] < entropy - 0.3
    assert is_still_falling(run), run["validation"]


@pytest.mark.parametrize("variant", DEEP_VARIANTS)
def test_first_and_last_layer_have_comparable_gradients(variant, settings):
    run = trained(variant, settings)
    assert len(run["gradient_norms"]) == 1 + settings.steps // settings.logging_steps
    assert {len(norms) for norms in run["gradient_norms"].values()} == {settings.layers}
    ratios = gradient_norm_ratios(run)
    assert 0.1 <= min(ratios) <= max(ratios) <= 10, ratios


@pytest.mark.parametrize("variant", DEEP_VARIANTS)
def test_losses_and_gradients_stay_finite(variant, settings):
    run = trained(variant, settings)
    assert run["first_nonfinite_step"] is None
    assert all(math.isfinite(loss) for loss in [*run["loss"].values(), *run["validation"].values(), run["test"]])


def test_post_norm_without_deepnorm_ends_worse(settings):
    post = trained("post", settings)
    assert post["first_nonfinite_step"] or post["test"] > trained("deepnorm", settings)["test"] + 0.3


def test_change_of_the_residual_stream_is_the_same_at_every_depth():
    for layers in (48, 200, 1000):
        branch_weight = variant_fields("pre", layers, 64)["residual_scale"]
        assert 2 * layers * branch_weight * muon_learning_rate("pre", layers) == pytest.approx(0.24)
        alpha = (2 * layers) ** 0.25
        assert 2 * layers / alpha * muon_learning_rate("deepnorm", layers) == pytest.approx(0.48)


def test_unigram_entropy_of_equal_counts_is_the_logarithm_of_their_number():
    counts = torch.tensor([5.0, 5.0, 5.0, 5.0, 0.0])
    unigram = unigram_nats_per_token(train_counts=torch.tensor([9.0, 9.0, 9.0, 9.0, 0.0]), test_counts=counts)
    assert unigram["entropy"] == pytest.approx(math.log(4))
    assert unigram["cross_entropy"] == pytest.approx(math.log(41 / 10))


def example_report(settings):
    norms = {str(step): [1.0, 2.0, 4.0] for step in (1, 10, 20)}
    losses = {"10": 7.0, "20": 6.0}
    run = {
        "test": 5.9,
        "loss": losses,
        "validation": losses,
        "gradient_norms": norms,
        "first_nonfinite_step": None,
        "seconds": 1,
    }
    return {
        "settings": vars(settings).copy(),
        "unigram": {"entropy": 6.3, "cross_entropy": 6.4},
        "runs": {"pre": run, "post": {**run, "first_nonfinite_step": 20, "validation": {}}},
    }


def test_table_and_plot_show_every_variant(tmp_path):
    report = example_report(SMALL)
    assert "| pre | 5.900 | 0.400 | 0.25 to 0.25 | yes | yes | 1 |" in table(report)
    assert "until step 20" in table(report)
    plot_depth(report, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").stat().st_size > 1000


def test_report_is_continued_with_the_same_settings_only(tmp_path):
    path, report = tmp_path / "new" / "depth.json", example_report(SMALL)
    assert load_or_start_report(path, SMALL) == {"settings": vars(SMALL), "runs": {}}
    path.parent.mkdir()
    path.write_text(json.dumps(report))
    assert load_or_start_report(path, SMALL) == report
    with pytest.raises(ValueError, match=r"other settings.*'layers': 16"):
        load_or_start_report(path, FULL)
