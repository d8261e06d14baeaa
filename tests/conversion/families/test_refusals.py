"""Values of native configurations that have no equivalent are refused in one sentence with the field and its value."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion import ConversionError, from_native, to_native
from hf_tfm.conversion.registry import FAMILIES, is_supported
from tests.conversion.families.cases import CASES
from tests.conversion.tiny import tiny_native, tiny_native_config


def other_value(value: Any) -> Any:
    """A value of the same type, or a word in the place of None."""
    if isinstance(value, bool):
        return not value
    return "other" if value is None or isinstance(value, str) else value + 1


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.required_values])
def test_every_required_value_is_required(name: str) -> None:
    family = FAMILIES[name]
    for field, value in family.required_values.items():
        native = tiny_native_config(name, CASES[name][0], family.heads[0])
        vars(native)[native.attribute_map.get(field, field)] = other = other_value(value)
        with pytest.raises(ConversionError) as error:
            family.check_values(native)
        assert str(error.value) == f"{name} with {field}={other!r} is not supported; {field}={value!r} is."


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("rembert", {"input_embedding_size": 48}, "rembert with input_embedding_size=48, equal to hidden_size, is not"),
        ("xlm", {"n_langs": 3}, "xlm with use_lang_emb=True and n_langs=3 is not supported"),
        ("flaubert", {"n_langs": 2}, "flaubert with use_lang_emb=True and n_langs=2 is not supported"),
        (
            "granitemoehybrid",
            {"layer_types": ["full_attention", "linear_attention", "full_attention"]},
            "granitemoehybrid with linear_attention in layer_types is not supported",
        ),
    ],
)
def test_layers_and_embeddings_that_our_models_lack_are_refused_by_name(
    name: str, fields: dict[str, Any], message: str
) -> None:
    case = CASES[name][0]
    native = CONFIG_MAPPING[name](**case.token_ids | case.fields | fields)
    with pytest.raises(ConversionError, match=message):
        FAMILIES[name].config_to_ours(native, "base", {})


def test_a_bias_in_all_layers_does_not_become_one_of_the_last_layer_alone() -> None:
    ours = from_native(tiny_native("gpt_neox_japanese", CASES["gpt_neox_japanese"][0], "base"))
    assert to_native(ours).layers[-1].attention.dense_bias.any()
    ours.layers[0].self_attn.o_proj.bias.data[3] = 0.5
    with pytest.raises(ConversionError, match="the attention of the last layer alone has a bias"):
        to_native(ours)


def test_what_a_native_class_does_not_read_with_a_head_comes_back_as_zeros_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    native = tiny_native("big_bird", CASES["big_bird"][0], "masked-lm")
    assert not to_native(from_native(native)).bert.pooler.weight.any()
    native.save_pretrained(tmp_path)
    ours = from_native(str(tmp_path))
    assert any("Left out" in line and "bert.pooler.weight" in line for line in caplog.messages)
    assert not any("pooler" in name for name in ours.state_dict())


def test_a_type_with_the_classes_of_another_is_that_family(tmp_path: Path) -> None:
    tiny_native("gpt2", CASES["gpt2"][0], "base").save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {"model_type": "gpt-sw3"}))
    assert is_supported("gpt-sw3")
    assert from_native(str(tmp_path)).config.origin == "gpt2"
