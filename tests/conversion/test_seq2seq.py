"""Encoder-decoders through files: which tables are one is told by the tensors, not by the configuration."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hf_tfm.conversion import from_native, to_native
from hf_tfm.conversion.rows import ConversionError
from tests.conversion.cases import CASES
from tests.conversion.parity import largest_difference
from tests.conversion.tiny import Case, tiny_native

HEAD = "seq2seq-lm"


def native_of(family: str, number: int) -> tuple[Any, Case]:
    case = CASES[family][number]
    return tiny_native(family, case, HEAD), case


def there_and_back(native: Any, case: Case, folder: Path) -> tuple[Any, Any]:
    """Ours of a saved native model, and the native model of ours once saved and read; all three with equal numbers."""
    native.save_pretrained(folder / "native")
    ours = from_native(str(folder / "native"))
    ours.save_pretrained(folder / "ours")
    ours = type(ours).from_pretrained(folder / "ours")
    to_native(ours).save_pretrained(folder / "back")
    back = type(native).from_pretrained(folder / "back")
    for model in (ours, back):
        model.set_attn_implementation("eager")
        assert largest_difference(native, model, case, HEAD) <= 1e-5
    return ours, back


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_a_head_of_its_own_survives_files(family: str, tmp_path: Path) -> None:
    # T5 v1.1, Flan and mT5: the configuration says tied, the file does not
    native, case = native_of(family, 1)
    native.lm_head.weight = nn.Parameter(torch.randn_like(native.lm_head.weight) * 0.2)
    ours, back = there_and_back(native, case, tmp_path)
    assert ours.config.logit_scale == 1.0
    assert not ours.config.tie_word_embeddings
    assert ours.config.tie_encoder_decoder_embeddings
    assert not torch.equal(back.lm_head.weight, back.shared.weight)
    assert back.config.to_dict().get("scale_decoder_outputs", False) is False


def test_t5_with_a_tied_head_keeps_its_scale_through_files(tmp_path: Path) -> None:
    ours, back = there_and_back(*native_of("t5", 0), tmp_path)
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
    there_and_back(*native_of(family, number), tmp_path)


@pytest.mark.parametrize("head", ["base", HEAD])
def test_tables_that_a_file_lacks_are_refused(head: str, tmp_path: Path) -> None:
    # untied by the configuration, yet only one table in the file: natively the others are random
    native, _ = native_of("bart", 0)
    native.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": False}))
    with pytest.raises(ConversionError, match=r"lacks weights of the base model: .*encoder.embed_tokens.weight"):
        from_native(str(tmp_path), head=head)


def test_tables_that_are_computed_may_be_missing(tmp_path: Path) -> None:
    # Marian's positions are never in its files
    native, _ = native_of("marian", 0)
    native.save_pretrained(tmp_path)
    assert torch.equal(from_native(str(tmp_path), head="base").encoder.embed_tokens.weight, native.model.shared.weight)


def test_the_encoder_of_a_saved_pair_is_read_alone(tmp_path: Path) -> None:
    for family in ("t5", "t5gemma"):
        native, _ = native_of(family, 0)
        native.save_pretrained(tmp_path / family)
        encoder = from_native(str(tmp_path / family), head="encoder")
        ids = torch.randint(3, 90, (2, 7))
        native.set_attn_implementation("eager")
        encoder.set_attn_implementation("eager")
        with torch.no_grad():
            expected = native.get_encoder()(ids).last_hidden_state
            assert torch.allclose(encoder(ids).last_hidden_state, expected, atol=1e-5)
        assert type(to_native(encoder)).__name__.endswith("EncoderModel")


def test_other_positions_than_sinusoids_are_refused() -> None:
    native, _ = native_of("pegasus", 0)
    native.model.encoder.embed_positions.weight.data[3, 4] += 0.1
    with pytest.raises(ConversionError, match="positions are sinusoids"):
        from_native(native)


def test_two_stacks_of_t5gemma_that_differ_where_ours_cannot_are_refused() -> None:
    case = CASES["t5gemma"][0]
    fields = case.fields | {"decoder": case.fields["decoder"] | {"sliding_window": 7}}
    with pytest.raises(ConversionError, match="sliding_window=4 in the encoder and 7 in the decoder"):
        from_native(tiny_native("t5gemma", Case(fields), HEAD))


def test_sparse_attention_is_refused_by_name() -> None:
    case = CASES["bigbird_pegasus"][0]
    native = tiny_native("bigbird_pegasus", Case(case.fields | {"attention_type": "block_sparse"}, ids=case.ids), HEAD)
    with pytest.raises(ConversionError, match="attention_type='block_sparse'"):
        from_native(native)
    fields = CASES["longt5"][0].fields | {"encoder_attention_type": "transient-global"}
    with pytest.raises(ConversionError, match="encoder_attention_type='transient-global'"):
        from_native(tiny_native("longt5", Case(fields), HEAD))
