"""PEFT's adapters with what they do by default, as on the native twin."""

from functools import partial
from typing import Any

import pytest

pytest.importorskip("peft")

row = partial(pytest.mark.compatibility, tool="peft")
# float32 losses, rounded differently
CLOSE = {"rel": 1e-4, "abs": 1e-5}


def assert_trains(found: Any) -> None:
    """The adapter changes the loss, and is loaded as it was saved."""
    assert found["losses"][0] != found["losses"][1]
    assert found["saved"][0] == pytest.approx(found["saved"][1], **CLOSE)


def assert_as_native(found: Any, native: Any) -> None:
    assert_trains(found)
    assert found["losses"] == pytest.approx(native["losses"], **CLOSE)
    assert found["trained"] == native["trained"]


def assert_all_as_native(outcomes: Any, models: tuple[str, ...] = ("llama", "bert", "t5")) -> None:
    for found in outcomes.ours().values():
        for name in models:
            assert_as_native(found[name], outcomes["native"][name])


@row(what="LoraConfig() without target_modules")
def test_lora(outcomes):
    assert_all_as_native(outcomes)
    assert outcomes["remote"]["llama"]["targets"] == ["q_proj", "v_proj"]


@pytest.mark.ecosystem
@row(what="LoraConfig(use_dora=True)")
def test_dora(outcomes):
    assert_all_as_native(outcomes)


@row(what="IA3Config()")
def test_ia3(outcomes):
    assert_all_as_native(outcomes, ("llama", "t5"))
    for found in outcomes.ours().values():
        # keys, values and the feed-forward, as in the paper; PEFT's entry of BERT has the output of attention too
        assert_trains(found["bert"])
        assert found["bert"]["targets"] == ["down_proj", "k_proj", "v_proj"]


@pytest.mark.ecosystem
@row(what="OFTConfig()")
def test_oft(outcomes):
    assert_all_as_native(outcomes)


@pytest.mark.ecosystem
@row(what="LNTuningConfig()")
def test_layer_norm_tuning(outcomes):
    for found in outcomes.ours().values():
        # without the norm at the end of the stack, which a post-norm wiring lacks
        assert_trains(found)
        assert found["targets"] == ["pre_norm"]


@pytest.mark.ecosystem
@row(what="PromptTuningConfig()")
def test_prompt_tuning(outcomes):
    assert_all_as_native(outcomes)


@pytest.mark.ecosystem
@row(what="PromptEncoderConfig() (p-tuning)")
def test_p_tuning(outcomes):
    assert_all_as_native(outcomes)


@row(what="PrefixTuningConfig(): decoder, encoder, classifier, encoder-decoder")
def test_prefix_tuning(outcomes):
    assert_all_as_native(outcomes, ("llama", "bert", "t5", "encoder"))


@row(what="PrefixTuningConfig(): classes of sequences and of tokens, answers")
def test_prefix_tuning_classifiers(outcomes):
    assert_all_as_native(outcomes, tuple(outcomes["native"]))


@pytest.mark.ecosystem
@row(what="PrefixTuningConfig(): classifier of an encoder-decoder")
def test_prefix_tuning_seq2seq_classifier(outcomes):
    for mode in ("package", "remote"):
        assert "An encoder-decoder needs an EncoderDecoderCache" in outcomes.errors[mode]
        outcomes.statuses[mode] = "refused: PEFT gives it no encoder-decoder cache"


@pytest.mark.ecosystem
@row(what="PrefixTuningConfig(): experts")
def test_prefix_tuning_experts(outcomes):
    for found in outcomes.ours().values():
        assert_trains(found)
        assert found["trained"] == outcomes["native"]["trained"]


@row(what='LoraConfig(target_modules="all-linear"): classes of sequences and of tokens, answers')
def test_all_linear(outcomes):
    assert_all_as_native(outcomes, ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"))
