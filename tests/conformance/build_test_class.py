"""Builds a test class of transformers' test mixins for each case."""

import functools
import os
import re
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import transformers

from . import tiny_checkpoints
from .cases import BATCH, LENGTH, RECIPES, Case
from .downloaded_tests import import_downloaded_tests

import_downloaded_tests()
# the pipeline mixin reads a summary of tiny models at import; ours are made for each case
empty = Path(tempfile.mkdtemp()) / "reports"
empty.mkdir()
(empty / "tiny_model_summary.json").write_text("{}")
os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = str(empty.parent)

from transformers_tests import test_fsdp_mixin, test_pipeline_mixin, test_tensor_parallel_mixin  # noqa: E402
from transformers_tests.generation.test_utils import GenerationTesterMixin  # noqa: E402
from transformers_tests.pipelines.text import CHECKS  # noqa: E402
from transformers_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_tests.test_fsdp_mixin import FSDPTesterMixin  # noqa: E402
from transformers_tests.test_modeling_common import ModelTesterMixin  # noqa: E402
from transformers_tests.test_tensor_parallel_mixin import TensorParallelTesterMixin  # noqa: E402
from transformers_tests.test_training_mixin import TrainingTesterMixin  # noqa: E402

# the common tests check warnings
transformers.logging.set_verbosity_warning()
# transformers runs its distributed tests for a list of families; None means every family with a parallel plan
test_tensor_parallel_mixin.TP_DISTRIBUTED_TEST_MODEL_TYPES = None
test_fsdp_mixin.FSDP_DISTRIBUTED_TEST_MODEL_TYPES = None
for task, check in CHECKS.items():
    test_pipeline_mixin.pipeline_test_mapping[task] = {"test": f"{check.__module__}.{check.__name__}"}


class Tester:
    """The `model_tester` of the mixins."""

    is_training = True
    num_choices = 3

    def __init__(self, case: Case) -> None:
        self.case = case
        config = case.config()
        self.batch_size, self.seq_length = BATCH, LENGTH
        self.num_hidden_layers, self.hidden_size = config.num_hidden_layers, config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        for role, model_class in case.classes.items():
            setattr(self, role, model_class)

    def get_config(self) -> Any:
        """For the distributed mixins. No load-balancing loss, as in transformers' families by default: the tests
        compare a batch with the mean of its parts, and this loss of a batch is not the mean of its parts' losses."""
        config = self.case.config()
        if hasattr(config, "router_aux_loss_coef"):
            config.router_aux_loss_coef = 0.0
        return config

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        return self.case.config(), self.case.inputs()


class CommonTests(ModelTesterMixin, test_pipeline_mixin.PipelineTesterMixin):
    """The common model, configuration and pipeline tests for `case`."""

    case: Case

    def setUp(self) -> None:
        self.model_tester = Tester(self.case)
        self.config_tester = ConfigTester(self, config_class=type(self.case.config()))
        classes = next(iter(self.case.classes.values())).__mro__
        root = next(model_class for model_class in classes if "PreTrainedModel" in model_class.__name__)
        for flag, value in self.case.flags.items():
            self.replace(root, flag, value)
        if self._testMethodName.startswith("test_pipeline_"):
            folder = tiny_checkpoints.write_checkpoints(self.case).name
            self.replace(test_pipeline_mixin, "TRANSFORMERS_TINY_MODEL_PATH", folder)
            self.replace(test_pipeline_mixin, "tiny_model_summary", tiny_checkpoints.summary(self.case))

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Give an attribute another value during a test."""
        patcher = patch.object(owner, name, value)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


# Tests that native families skip because of their configuration class. Ours need a list, because one configuration
# class covers all recipes: reason -> (whether a case skips, pattern of test names).
SKIPS: dict[str, tuple[Callable[[str, dict[str, Any]], bool], str]] = {
    "as Llama, BERT and BART, whose classes have no experts": (
        lambda architecture, fields: fields.get("mlp_type") != "moe",
        "test_eager_matches_batched_and_grouped",
    ),
    "as BART and T5: the test writes into a copy of a flat encoder-decoder configuration": (
        lambda architecture, fields: architecture == "seq2seq",
        "test_model_rope_scaling_from_config",
    ),
}


def skipped_tests(case: Case) -> dict[str, Any]:
    """The skipped tests of a case, as attributes of its test class."""
    fields = RECIPES.get(case.name)
    if fields is None:
        return {}
    return {
        name: unittest.skip(reason)(getattr(CommonTests, name))
        for reason, (applies, pattern) in SKIPS.items()
        for name in dir(CommonTests)
        if applies(case.architecture, fields) and re.match(pattern, name)
    }


# tests that start processes: both cores, half a minute a case
DISTRIBUTED = "test_fsdp2_|test_hsdp_|test_tp_(forward|backward|generation)"
# the cases whose distributed tests run by default; those of the others run with -m distributed
DISTRIBUTED_BY_DEFAULT = ("Decoder_defaults",)
# the cases that run by default: every recipe once; the others run with -m conformance
RUN_BY_DEFAULT = {
    "encoder": ("relative_bias", "parallel"),
    "decoder": ("defaults", "alibi", "sliding", "experts"),
    "seq2seq": ("learned_post", "sandwich_softcap"),
}


def copy_test(function: Callable) -> Callable:
    """A new function that runs the same test, so that a mark on it does not mark the test of other classes."""

    @functools.wraps(function)
    def test(self: Any) -> Any:
        return function(self)

    return test


def distributed_tests(case: Case, base: type) -> dict[str, Any]:
    """The tests of a class that start processes, with their marks."""
    named = {name: getattr(base, name) for name in dir(base) if re.match(DISTRIBUTED, name)}
    tests = {name: copy_test(test) for name, test in named.items() if callable(test)}
    for name, test in tests.items():
        tests[name] = pytest.mark.xdist_group("two_processes")(test)
        if case.title not in DISTRIBUTED_BY_DEFAULT:
            tests[name] = pytest.mark.distributed(test)
    return tests


def build_test_class(case: Case) -> type:
    """The test class of a case: the common tests and pipelines for all models, generation for those that generate,
    training and the distributed mixins for causal language models. transformers' training and FSDP mixins support no
    other models; `tests/parallel` runs encoders and encoder-decoders in two processes."""
    mixins: tuple[type, ...] = (CommonTests,)
    if "causal_lm_class" in case.classes:
        mixins += (TrainingTesterMixin, TensorParallelTesterMixin, FSDPTesterMixin)
    if any(model_class.can_generate() for model_class in case.classes.values()):
        mixins += (GenerationTesterMixin,)
    base = type("Mixed", (*mixins, unittest.TestCase), {"model_tester": None})
    body = {
        "case": case,
        "all_model_classes": tuple(case.classes.values()),
        "is_encoder_decoder": case.architecture == "seq2seq",
        "pipeline_model_mapping": case.pipelines,
        "__module__": __name__,
        "pytestmark": [] if case.name in RUN_BY_DEFAULT[case.architecture] else [pytest.mark.conformance],
    }
    return type(f"Test{case.title}", (base,), body | skipped_tests(case) | distributed_tests(case, base))
