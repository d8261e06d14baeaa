"""Encoder-decoders through files: the tensors say which embeddings are tied, not the configuration."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hf_tfm.conversion import ConversionError, from_native, to_native
from tests.conversion.families.cases import CASES
from tests.conversion.parity import max_output_difference
from tests.conversion.tiny import Case, tiny_native

HEAD = "seq2seq-lm"


def native_and_case(family: str, number: int) -> tuple[Any, Case]:
    case = CASES[family][number]
    return tiny_native(family, case, HEAD), case


def round_trip(native: Any, case: Case, folder: Path) -> tuple[Any, Any]:
    """Our model from the saved native one, and the native model from ours, each saved and loaded; equal outputs."""
    native.save_pretrained(folder / "native")
    ours = from_native(str(folder / "native"))
    ours.save_pretrained(folder / "ours")
    ours = type(ours).from_pretrained(folder / "ours")
    to_native(ours).save_pretrained(folder / "back")
    back = type(native).from_pretrained(folder / "back")
    for model in (ours, back):
        model.set_attn_implementation("eager")
        assert max_output_difference(native, model, case, HEAD) <= 1e-5
    return ours, back


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_an_untied_head_survives_files(family: str, tmp_path: Path) -> None:
    # T5 v1.1, Flan-T5 and mT5: tied according to the configuration, but not in the file
    native, case = native_and_case(family, 1)
    native.lm_head.weight = nn.Parameter(torch.randn_like(native.lm_head.weight) * 0.2)
    ours, back = round_trip(native, case, tmp_path)
    assert ours.config.logit_scale == 1.0
    assert not ours.config.tie_word_embeddings
    assert ours.config.tie_encoder_decoder_embeddings
    assert not torch.equal(back.lm_head.weight, back.shared.weight)
    assert back.config.to_dict().get("scale_decoder_outputs", False) is False


def test_t5_with_a_tied_head_keeps_its_scale_through_files(tmp_path: Path) -> None:
    ours, back = round_trip(*native_and_case("t5", 0), tmp_path)
    assert ours.config.tie_word_embeddings
    assert ours.config.logit_scale == 48**-0.5
    assert back.config.scale_decoder_outputs
    assert back.lm_head.weight is back.shared.weight


@pytest.mark.parametrize(
    ("family", "number"),
    [("longt5", 1), ("bart", 0), ("bart", 1), ("marian", 0), ("marian", 1), ("pegasus", 0), ("pegasus", 1),
     ("m2m_100", 0), ("t5gemma", 0)],
)  # fmt: skip
def test_files_keep_numbers(family: str, number: int, tmp_path: Path) -> None:
    round_trip(*native_and_case(family, number), tmp_path)


@pytest.mark.parametrize("head", ["base", HEAD])
def test_embeddings_missing_from_a_file_are_refused(head: str, tmp_path: Path) -> None:
    # untied by the configuration, but only one embedding in the file: transformers fills the others randomly
    native, _ = native_and_case("bart", 0)
    native.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": False}))
    with pytest.raises(ConversionError, match=r"lacks weights of the base model.*: .*encoder.embed_tokens.weight"):
        from_native(str(tmp_path), head=head)


def test_computed_tables_may_be_missing_from_a_file(tmp_path: Path) -> None:
    # the positions of Marian are never in its files
    native, _ = native_and_case("marian", 0)
    native.save_pretrained(tmp_path)
    assert torch.equal(from_native(str(tmp_path), head="base").encoder.embed_tokens.weight, native.model.shared.weight)


def test_the_encoder_of_a_saved_encoder_decoder_loads_alone(tmp_path: Path) -> None:
    for family in ("t5", "t5gemma"):
        native, _ = native_and_case(family, 0)
        native.save_pretrained(tmp_path / family)
        encoder = from_native(str(tmp_path / family), head="encoder")
        ids = torch.randint(3, 90, (2, 7))
        native.set_attn_implementation("eager")
        encoder.set_attn_implementation("eager")
        with torch.no_grad():
            expected = native.get_encoder()(ids).last_hidden_state
            assert torch.allclose(encoder(ids).last_hidden_state, expected, atol=1e-5)
        assert type(to_native(encoder)).__name__.endswith("EncoderModel")


def test_positions_other_than_sinusoids_are_refused() -> None:
    native, _ = native_and_case("pegasus", 0)
    native.model.encoder.embed_positions.weight.data[3, 4] += 0.1
    with pytest.raises(ConversionError, match="positions of this family are sinusoids"):
        from_native(native)


def test_two_t5gemma_stacks_with_unsupported_differences_are_refused() -> None:
    case = CASES["t5gemma"][0]
    fields = case.fields | {"decoder": case.fields["decoder"] | {"sliding_window": 7}}
    with pytest.raises(ConversionError, match="sliding_window=4 in the encoder and 7 in the decoder"):
        from_native(tiny_native("t5gemma", Case(fields), HEAD))


def test_sparse_attention_is_refused_by_name() -> None:
    case = CASES["bigbird_pegasus"][0]
    sparse = Case(case.fields | {"attention_type": "block_sparse"}, token_ids=case.token_ids)
    with pytest.raises(ConversionError, match="attention_type='block_sparse'"):
        from_native(tiny_native("bigbird_pegasus", sparse, HEAD))
    fields = CASES["longt5"][0].fields | {"encoder_attention_type": "transient-global"}
    with pytest.raises(ConversionError, match="encoder_attention_type='transient-global'"):
        from_native(tiny_native("longt5", Case(fields), HEAD))
