"""JSON, arrays and pictures hold the numbers of the report."""

import json

import numpy as np
import pytest

from hf_tfm.inspection import files
from hf_tfm.inspection.files import AMOUNTS, write_json, write_npz, write_pictures
from hf_tfm.inspection.page import WEB
from hf_tfm.inspection.plain_values import arrays_of

from .synthetic_reports import HOSTILE, decoder_report, hostile_report, seq2seq_report


def at(values, name):
    for key in name.split("."):
        values = values[int(key)] if isinstance(values, list) else values[key]
    return values


@pytest.mark.parametrize("report", [decoder_report(), seq2seq_report()], ids=["decoder", "seq2seq"])
def test_json_and_npz_hold_every_array(report, tmp_path):
    write_json(report, tmp_path / "report.json")
    write_npz(report, tmp_path / "report.npz")
    read = json.loads((tmp_path / "report.json").read_text())
    stored = np.load(tmp_path / "report.npz")
    arrays = dict(arrays_of(report))
    assert set(stored) == {"report", *arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[name], array)
        numbers = np.array(at(read, name), dtype=array.dtype)
        np.testing.assert_array_equal(numbers, array)
    rest = json.loads(str(stored["report"]))
    assert rest["sequences"] == read["sequences"]
    assert read["attributions"][0]["logit"] == report.attributions[0].logit


def test_many_weights_are_left_to_npz(tmp_path, monkeypatch):
    report = decoder_report()
    monkeypatch.setattr(files, "MAX_JSON_WEIGHTS", 10)
    write_json(report, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["attention"][0]["weights"] is None
    assert f"{report.attention[0].weights.size:,}" in read["absent"]["attention.weights"]
    assert read["lens"]["probabilities"]


def test_hostile_tokens_come_back_from_json(tmp_path):
    write_json(hostile_report(), tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["sequences"][0]["tokens"] == HOSTILE


def test_pictures_are_drawn_of_any_tokens_and_are_the_same_twice(tmp_path):
    report = hostile_report()
    report.attention[0].layers = [1, 4]
    report.sequences[0].tokens[3] = "$x^$ \ud800"
    paths = write_pictures(report, tmp_path / "a")
    names = {path.name for path in paths}
    assert names >= {"prediction.png", "lens.png", "attribution.png", "heads.png", "attention-text-self-5.png"}
    again = write_pictures(report, tmp_path / "b")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_pictures_have_the_colors_of_the_page():
    assert json.dumps(AMOUNTS) in (WEB / "colors.js").read_text(encoding="utf-8")
