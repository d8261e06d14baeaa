"""Test classes made of the host's mixins, one for each case."""

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

from . import host, tiny
from .cases import BATCH, LENGTH, RECIPES, Case

host.load()
# the pipeline mixin reads a summary of tiny models when it is imported; ours are made for each case
empty = Path(tempfile.mkdtemp()) / "reports"
empty.mkdir()
(empty / "tiny_model_summary.json").write_text("{}")
os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = str(empty.parent)

from host_tests import test_fsdp_mixin, test_pipeline_mixin, test_tensor_parallel_mixin  # noqa: E402
from host_tests.generation.test_utils import GenerationTesterMixin  # noqa: E402
from host_tests.pipelines.text import CHECKS  # noqa: E402
from host_tests.test_configuration_common import ConfigTester  # noqa: E402
from host_tests.test_fsdp_mixin import FSDPTesterMixin  # noqa: E402
from host_tests.test_modeling_common import ModelTesterMixin  # noqa: E402
from host_tests.test_tensor_parallel_mixin import TensorParallelTesterMixin  # noqa: E402
from host_tests.test_training_mixin import TrainingTesterMixin  # noqa: E402

# the common tests read warnings
transformers.logging.set_verbosity_warning()
# the host runs its distributed tests for a list of families; None runs them for every family with a plan
test_tensor_parallel_mixin.TP_DISTRIBUTED_TEST_MODEL_TYPES = None
test_fsdp_mixin.FSDP_DISTRIBUTED_TEST_MODEL_TYPES = None
for task, check in CHECKS.items():
    test_pipeline_mixin.pipeline_test_mapping[task] = {"test": f"{check.__module__}.{check.__name__}"}


class Tester:
    """What the mixins call `model_tester`."""

    is_training = True
    num_choices = 3

    def __init__(self, case: Case) -> None:
        self.case = case
        config = case.config()
        self.batch_size, self.seq_length = BATCH, LENGTH
        self.num_hidden_layers, self.hidden_size = config.num_hidden_layers, config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        for role, kind in case.classes.items():
            setattr(self, role, kind)

    def get_config(self) -> Any:
        """For the distributed mixins. Without the experts' balance, as the host's families train by default: the tests
        compare a batch with the mean of its parts, and the balance of a whole is not the mean of theirs."""
        config = self.case.config()
        if hasattr(config, "router_aux_loss_coef"):
            config.router_aux_loss_coef = 0.0
        return config

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        return self.case.config(), self.case.inputs()


class Suite(ModelTesterMixin, test_pipeline_mixin.PipelineTesterMixin):
    """All common tests for `case`."""

    case: Case

    def setUp(self) -> None:
        self.model_tester = Tester(self.case)
        self.config_tester = ConfigTester(self, config_class=type(self.case.config()))
        base = next(iter(self.case.classes.values())).__mro__
        root = next(kind for kind in base if "PreTrainedModel" in kind.__name__)
        for flag, value in self.case.flags.items():
            self.replace(root, flag, value)
        if self._testMethodName.startswith("test_pipeline_"):
            folder = tiny.checkpoints(self.case).name
            self.replace(test_pipeline_mixin, "TRANSFORMERS_TINY_MODEL_PATH", folder)
            self.replace(test_pipeline_mixin, "tiny_model_summary", tiny.summary(self.case))

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Give an attribute another value for the time of a test."""
        patcher = patch.object(owner, name, value)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


# Tests that the host's counterparts skip by themselves. Ours skip them by a list, because one configuration class holds
# all recipes: why -> (which of our cases, which tests).
SKIPS: dict[str, tuple[Callable[[str, dict[str, Any]], bool], str]] = {
    "as Llama, BERT and BART, which have no experts": (
        lambda architecture, words: words.get("mlp_type") != "moe",
        "test_output_router_logits_from_config|test_eager_matches_batched_and_grouped",
    ),
    "as BERT, BART and T5, which have no rotary positions": (
        lambda architecture, words: words.get("position_type", "rotary") != "rotary",
        "test_model_rope_",
    ),
    "as BART and T5: the test writes into a copy of a flat encoder-decoder configuration": (
        lambda architecture, words: architecture == "seq2seq",
        "test_model_rope_scaling_from_config",
    ),
}


def skips(case: Case) -> dict[str, Any]:
    """The skipped tests of a case, as attributes of its test class."""
    words = RECIPES.get(case.name)
    if words is None:
        return {}
    return {
        name: unittest.skip(reason)(getattr(Suite, name))
        for reason, (applies, pattern) in SKIPS.items()
        for name in dir(Suite)
        if applies(case.architecture, words) and re.match(pattern, name)
    }


# what starts processes: both cores, half a minute a case
DISTRIBUTED = "test_fsdp2_|test_hsdp_|test_tp_(forward|backward|generation)"
# the cases whose distributed tests run by default; the others' run with -m distributed
SPREAD = ("Decoder_defaults",)
# what runs by default: every recipe once; the rest runs with -m conformance
REGULAR = {
    "encoder": ("relative_bias", "parallel"),
    "decoder": ("defaults", "alibi", "sliding", "experts"),
    "seq2seq": ("learned_post", "sandwich_softcap"),
}


def again(function: Callable) -> Callable:
    """The same test as an object of its own, so that marking it marks no other class's."""

    @functools.wraps(function)
    def test(self: Any) -> Any:
        return function(self)

    return test


def marked(case: Case, kind: type) -> dict[str, Any]:
    """The tests of a class that start processes, with the marks they need."""
    named = {name: getattr(kind, name) for name in dir(kind) if re.match(DISTRIBUTED, name)}
    tests = {name: again(test) for name, test in named.items() if callable(test)}
    for name, test in tests.items():
        tests[name] = pytest.mark.xdist_group("two_processes")(test)
        if case.title not in SPREAD:
            tests[name] = pytest.mark.distributed(test)
    return tests


def suite(case: Case) -> type:
    """The test class of a case: the common tests and pipelines for all, and what the host gives to language models that
    generate: generation, training and the distributed mixins for causal ones, of which FSDP's and training's know no
    others (`tests/parallel` spreads encoders and encoder-decoders over processes)."""
    mixins: tuple[type, ...] = (Suite,)
    if "causal_lm_class" in case.classes:
        mixins += (TrainingTesterMixin, TensorParallelTesterMixin, FSDPTesterMixin)
    if any(kind.can_generate() for kind in case.classes.values()):
        mixins += (GenerationTesterMixin,)
    kind = type("Mixed", (*mixins, unittest.TestCase), {"model_tester": None})
    body = {
        "case": case,
        "all_model_classes": tuple(case.classes.values()),
        "is_encoder_decoder": case.architecture == "seq2seq",
        "pipeline_model_mapping": case.pipelines,
        "__module__": __name__,
        "pytestmark": [] if case.name in REGULAR[case.architecture] else [pytest.mark.conformance],
    }
    return type(f"Test{case.title}", (kind,), body | skips(case) | marked(case, kind))
