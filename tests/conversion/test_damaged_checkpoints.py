"""Checkpoints that are damaged, foreign or hostile: one line that names the file, nothing written, nothing executed."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_tfm import cli
from hf_tfm.conversion import ConversionError, from_native, to_native
from tests.conversion.test_convert import SIZES, VOCAB_SIZE, make_gpt2, make_ours
from tests.conversion.test_convert_command import save_tokenizer
from tests.conversion.tiny import randomise

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def marker_of(folder: Path) -> Path:
    return folder.parent / "executed"


# Damages: each changes a saved checkpoint


def cut(name: str, fraction: float = 0.5) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * fraction)])

    return damage


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def removed(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def config_with(**fields: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return damage


def tensors_changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """`change` is given the tensors by name; those of layer 1 come last."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def in_layer(tensors: dict[str, Any], number: int = 1) -> list[str]:
    return [name for name in tensors if f".{number}." in name]


def without_layer(tensors: dict[str, Any]) -> None:
    for name in in_layer(tensors):
        del tensors[name]


def with_another_layer(tensors: dict[str, Any]) -> None:
    tensors.update({name.replace(".1.", ".2."): tensors[name].clone() for name in in_layer(tensors)})


def with_another_table(tensors: dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        if tensor.dim() == 2 and len(tensor) == VOCAB_SIZE:
            tensors[name] = tensor[:-1].clone()


def as_float8(tensors: dict[str, Any]) -> None:
    name = in_layer(tensors)[0]
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)


def as_gptq(tensors: dict[str, Any]) -> None:
    name = next(name for name in in_layer(tensors) if name.endswith("weight"))
    tensors[name.removesuffix("weight") + "qweight"] = tensors.pop(name).int()


def not_a_number(tensors: dict[str, Any]) -> None:
    tensors[in_layer(tensors)[0]].fill_(float("nan"))


def indexed(shard: str) -> Callable[[Path], None]:
    """The weights lie in a hostile pickle, and a safetensors index names it by `shard`."""

    def damage(folder: Path) -> None:
        names = list(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).unlink()
        for target in (folder / "x.bin", folder.parent / "x.safetensors"):
            target.write_bytes(pickle.dumps({names[0]: Payload(marker_of(folder))}, protocol=2))
        shard_name = shard.format(parent=folder.parent)
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard_name)}
        (folder / INDEX).write_text(json.dumps(index))

    return damage


def index_of(content: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / INDEX).write_text(json.dumps(content))

    return damage


def only_in(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.move(folder / WEIGHTS, folder / name) and None


def adapter(folder: Path) -> None:
    removed("config.json", WEIGHTS)(folder)
    (folder / "adapter_config.json").write_text("{}")


def pickled(folder: Path) -> None:
    names = list(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({names[0]: Payload(marker_of(folder))}, protocol=2))


def larger_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {"another": VOCAB_SIZE}
    (folder / "tokenizer.json").write_text(json.dumps(content))


QUANTISATION = {"quant_method": "gptq", "bits": 4}
# Damage -> what does it, and what the line names.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights cut short": (cut(WEIGHTS), WEIGHTS),
    "header cut short": (cut(WEIGHTS, 0.01), WEIGHTS),
    "weights empty": (written(WEIGHTS, b""), WEIGHTS),
    "weights overwritten": (written(WEIGHTS, b"x" * 4000), WEIGHTS),
    "weights are a pointer": (written(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid 1\n"), "git lfs pull"),
    "weights without a tensor": (tensors_changed(dict.clear), WEIGHTS),
    "no weights": (removed(WEIGHTS), WEIGHTS),
    "no configuration": (removed("config.json"), "config.json"),
    "configuration cut short": (cut("config.json"), "config.json"),
    "configuration empty": (written("config.json", b""), "config.json"),
    "configuration is a list": (written("config.json", b"[1]"), "config.json"),
    "configuration is no text": (written("config.json", b"\xff\xfe\x00"), "config.json"),
    "configuration nested without end": (written("config.json", b"[" * 200_000), "config.json"),
    "configuration of no type": (config_with(model_type=None), "config.json"),
    "width is a text": (config_with(hidden_size="wide", n_embd="wide"), "checkpoint"),
    "heads do not divide the width": (config_with(num_attention_heads=7, n_head=7), "checkpoint"),
    "generation settings cut short": (cut("generation_config.json"), "generation_config.json"),
    "tokenizer cut short": (cut("tokenizer.json"), "tokenizer.json"),
    "tokenizer of another kind": (written("tokenizer.json", b"{}"), "tokenizer.json"),
    "tokenizer settings empty": (written("tokenizer_config.json", b""), "tokenizer_config.json"),
    "tokenizer larger than the table": (larger_tokenizer, "tokenizer.json"),
    "a layer is missing": (tensors_changed(without_layer), r"lacks weights of the base model.*\.1\."),
    "a layer too many": (tensors_changed(with_another_layer), r"does not count.*\.2\."),
    "table of another size": (tensors_changed(with_another_table), r"\(96, 32\) in the files, \(97, 32\)"),
    "vocabulary of another size": (config_with(vocab_size=VOCAB_SIZE + 3), r"\(97, 32\) in the files, \(100, 32\)"),
    "a weight is not a number": (tensors_changed(not_a_number), "NaN"),
    "quantised": (config_with(quantization_config=QUANTISATION), "checkpoint is quantised.*gptq"),
    "quantised without a word": (tensors_changed(as_gptq), f"{WEIGHTS} holds quantised.*qweight"),
    "float8": (tensors_changed(as_float8), f"{WEIGHTS} holds quantised.*F8_E4M3"),
    "TensorFlow": (only_in("tf_model.h5"), "tf_model.h5"),
    "Flax": (only_in("flax_model.msgpack"), "flax_model.msgpack"),
    "adapter": (adapter, "adapter_config.json.*merge"),
    "unknown file": (only_in("weights.gguf"), "weights.gguf"),
    "pickle": (pickled, "--allow_pickle"),
    "pickle in an index": (indexed("x.bin"), f"{INDEX} names 'x.bin'"),
    "index outside of the folder": (indexed("../x.safetensors"), f"{INDEX} names '../x.safetensors'"),
    "index with an absolute path": (indexed("{parent}/x.safetensors"), f"{INDEX} names '/"),
    "index of other files": (indexed("config.json"), f"{INDEX} names 'config.json'"),
    "index without files": (index_of({"metadata": {}, "weight_map": {"a": "1.safetensors"}}), r"missing: 1\.safe"),
    "index without names": (index_of({"metadata": {}}), INDEX),
    "index without metadata": (index_of({"weight_map": {"a": "1.safetensors"}}), INDEX),
    "index of numbers": (index_of({"metadata": {}, "weight_map": {"a": 1}}), INDEX),
    "pickle named by the configuration": (
        lambda folder: (pickled(folder), config_with(transformers_weights="pytorch_model.bin")(folder)),
        "pytorch_model.bin",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A native checkpoint and one of ours, by the direction in which they convert."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {"tfm": make_gpt2(), "native": make_ours(origin="llama")}
    for direction, model in made.items():
        model.save_pretrained(folder / direction)
        save_tokenizer(folder / direction)
    return {direction: folder / direction for direction in made}


@pytest.fixture
def damaged(request: pytest.FixtureRequest, checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    direction, damage = request.param
    shutil.copytree(checkpoints[direction], tmp_path / "checkpoint")
    DAMAGES[damage][0](tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        cli.main(["convert", *arguments])
    assert exit.value.code not in (0, None)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return printed


@pytest.mark.parametrize(
    ("damaged", "direction", "names"),
    [
        pytest.param((direction, damage), direction, names, id=f"{direction}-{damage}")
        for direction in ("tfm", "native")
        for damage, (_, names) in DAMAGES.items()
    ],
    indirect=["damaged"],
)
def test_damage_is_named_in_one_line(
    damaged: Path, direction: str, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = damaged.parent / "result"
    line = refused([str(damaged), str(destination), "--to", direction], capsys)
    assert re.search(names, line), line
    assert str(damaged) in line or "NaN" in line
    if direction == "tfm" and "tokenizer" not in names:
        with pytest.raises((ConversionError, OSError), match=names):
            from_native(str(damaged))
    assert not destination.exists()
    assert not marker_of(damaged).exists()


def test_a_model_that_transformers_cannot_build_is_refused(tmp_path: Path) -> None:
    ours = make_ours(origin="llama")
    to_native(ours).save_pretrained(tmp_path)
    config_with(pad_token_id=VOCAB_SIZE)(tmp_path)
    with pytest.raises(ConversionError, match="loading a LlamaForCausalLM failed with AssertionError: Padding_idx"):
        from_native(str(tmp_path))
    ours.config.pad_token_id = VOCAB_SIZE
    with pytest.raises(ConversionError, match="making a llama failed with AssertionError: Padding_idx"):
        to_native(ours)


def test_weights_of_a_base_model_within_no_prefix_are_missed(tmp_path: Path) -> None:
    """T5's names have no prefix that tells its base model from its head."""
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 40, "num_layers": 2, "num_heads": 2, "vocab_size": VOCAB_SIZE}
    randomise(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))).save_pretrained(tmp_path)
    tensors_changed(without_layer)(tmp_path)
    with pytest.raises(ConversionError, match=r"lacks weights of the base model.*block\.1"):
        from_native(str(tmp_path))


def test_pickles_are_read_when_allowed_but_run_no_code(tmp_path: Path) -> None:
    make_gpt2().save_pretrained(tmp_path / "checkpoint")
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "hostile")
    tensors = load_file(tmp_path / "checkpoint" / WEIGHTS)
    (tmp_path / "checkpoint" / WEIGHTS).unlink()
    torch.save(tensors, tmp_path / "checkpoint" / "x.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "x.bin")}
    (tmp_path / "checkpoint" / INDEX).write_text(json.dumps(index))
    ours = from_native(str(tmp_path / "checkpoint"), allow_pickle=True)
    assert torch.equal(ours.model.embed_tokens.weight, tensors["transformer.wte.weight"])
    cut("x.bin")(tmp_path / "checkpoint")
    with pytest.raises(ConversionError, match=r"x\.bin .*cut short"):
        from_native(str(tmp_path / "checkpoint"), allow_pickle=True)
    pickled(tmp_path / "hostile")
    with pytest.raises(ConversionError, match=r"pytorch_model\.bin is damaged, or holds more than tensors"):
        from_native(str(tmp_path / "hostile"), allow_pickle=True)
    assert not marker_of(tmp_path / "hostile").exists()


def test_what_is_written_before_a_failure_is_removed(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", fail)
    assert "No space left" in refused([str(checkpoints["tfm"]), str(tmp_path / "result")], capsys)
    assert not (tmp_path / "result").exists()


def test_quantised_models_in_memory_are_refused() -> None:
    for model, convert in ((make_gpt2(), from_native), (make_ours(origin="llama"), to_native)):
        model.config.quantization_config = QUANTISATION
        with pytest.raises(ConversionError, match=r"is quantised \(quantization_config: gptq\)"):
            convert(model)


def test_new_shapes_of_a_head_are_refused_unless_asked_for(tmp_path: Path) -> None:
    from_config = AutoModelForSequenceClassification.from_config
    from_config(LlamaConfig(**SIZES, num_labels=4, pad_token_id=0)).save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match=r"score\.weight has another shape.* \(4, 32\) in the files, \(2, 32\)"):
        from_native(str(tmp_path), num_labels=2)
    assert from_native(str(tmp_path), num_labels=2, ignore_mismatched_sizes=True).config.num_labels == 2
