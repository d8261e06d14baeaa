"""A run resumes only from a checkpoint that has every byte that was written, and every part that the run needs."""

import json
import re

import pytest

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.checkpoints import MANIFEST_FILE, fault, last_whole_checkpoint, write_manifest

FILES = ("model.safetensors", "optimizer.pt", "rng_state.pth", "nested/shard.bin")
DAMAGE = {
    "missing": ("{name} is missing", lambda file: file.unlink()),
    "cut": (r"{name} is cut short \(9 of 10 bytes\)", lambda file: file.write_bytes(b"012345678")),
    "empty": (r"{name} is cut short \(0 of 10 bytes\)", lambda file: file.write_bytes(b"")),
    "longer": ("{name} is not what was saved", lambda file: file.write_bytes(b"0123456789a")),
    "changed": ("{name} is not what was saved", lambda file: file.write_bytes(b"0123456798")),
}


def arguments(folder, **options):
    return TfmTrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", **options)


def save(folder, step, names=FILES):
    place = folder / f"checkpoint-{step}"
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"0123456789")
    write_manifest(place, arguments(folder))
    return place


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_every_file_is_checked(tmp_path, name, damage):
    place, args = save(tmp_path, 3), arguments(tmp_path)
    assert fault(place, args) is None
    reason, change = DAMAGE[damage]
    change(place / name)
    found = fault(place, args)
    assert found
    assert re.fullmatch(reason.format(name=name), found), found


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"files": {"optimizer.pt": 3}}', '{"files": []}', '{"files": {}}']
)
def test_a_damaged_manifest_is_a_fault(tmp_path, text):
    place = save(tmp_path, 3)
    (place / MANIFEST_FILE).write_text(text)
    assert fault(place, arguments(tmp_path)) == "manifest.json is damaged"


# what a checkpoint was saved without -> its files, options of the run that would resume, the message
PARTS = {
    "--save_only_model": (("model.safetensors",), {}, "weights only"),
    "the average": (FILES, {"ema_decay": 0.9}, r"no average of the weights \(ema.safetensors\)"),
    "rows": (FILES, {"per_device_train_batch_size": 3}, "its steps read 16 rows, and those of this command 3"),
    "sharded states": (FILES, {"fsdp_size": 2, "optimizer": "adamw"}, "whole weights; leave out --fsdp_size 2"),
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_that_the_run_needs_is_asked_for(tmp_path, part):
    names, options, message = PARTS[part]
    found = fault(save(tmp_path, 3, names), arguments(tmp_path, **options))
    assert found
    assert re.search(message, found), found


def test_the_last_whole_checkpoint_is_taken_and_newer_ones_are_printed(tmp_path, capsys):
    whole, cut, unfinished = (save(tmp_path, step) for step in (3, 20, 100))
    (cut / "optimizer.pt").write_bytes(b"0")
    (unfinished / MANIFEST_FILE).unlink()
    assert last_whole_checkpoint(tmp_path, arguments(tmp_path)) == str(whole)
    assert capsys.readouterr().out.splitlines() == [
        f"Skipping {unfinished}: it is not completely written",
        f"Skipping {cut}: optimizer.pt is cut short (1 of 10 bytes)",
    ]


def test_a_run_without_a_written_checkpoint_starts_again(tmp_path):
    (save(tmp_path, 3) / MANIFEST_FILE).unlink()
    assert last_whole_checkpoint(tmp_path, arguments(tmp_path)) is None


def test_a_run_with_nothing_but_a_damaged_checkpoint_is_refused(tmp_path):
    """It started again from the first step, and deleted the checkpoint at the next save."""
    place = save(tmp_path, 3)
    (place / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match=rf"optimizer\.pt is missing.*--init_from {place}"):
        last_whole_checkpoint(tmp_path, arguments(tmp_path))


def test_the_manifest_lists_all_files_but_itself(tmp_path):
    listed = json.loads((save(tmp_path, 3) / MANIFEST_FILE).read_text())["files"]
    assert sorted(listed) == sorted(FILES)
