"""The page is one file: no request, no foreign script, the same bytes for the same report, and never too large."""

import base64
import hashlib
import json
import re
import zlib

import numpy as np
import pytest

from hf_tfm.inspection import page
from hf_tfm.inspection.compressed_maps import MIN_KEPT, compress_map, decode_map, kept_keys
from hf_tfm.inspection.page import MAX_BYTES, SCRIPTS, WEB, render_page, write_page

from . import synthetic_reports
from .synthetic_reports import HOSTILE, decoder_report, hostile_report, large_report, seq2seq_report, single_stack

RANDOM = np.random.default_rng(0)


def test_the_same_report_gives_the_same_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        write_page(seq2seq_report(), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_policy_admits_this_style_and_this_script_alone():
    text = render_page(decoder_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


@pytest.mark.parametrize("name", [path.name for path in sorted(WEB.iterdir())])
def test_the_files_of_the_page_name_no_address(name):
    text = (WEB / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    for way in (
        r"https?:",
        r"\burl\(",
        r"\bfetch\(",
        r"XMLHttpRequest",
        r"\bimport\b",
        r"@import",
        "innerHTML",
        r"\beval\(",
    ):
        assert not re.search(way, text), f"{name} has {way}"
    assert name in {"page.html", "page.css", *SCRIPTS}
    assert len(text.splitlines()) <= 350


def test_hostile_tokens_end_no_element():
    report = hostile_report()
    text = render_page(report)
    # the report, the arrays, one block for each layer, and the script
    assert (
        len(re.findall("<script", text))
        == len(re.findall("</script>", text))
        == 3 + report.attention[0].weights.shape[0]
    )
    assert not re.search("<img|\u202e|\u2028|\0", re.sub(r"(?s)<title>.*?</title>", "", text, count=1))
    data = json.loads(re.search(r'id="report">(.*?)</script>', text, re.DOTALL)[1])
    assert data["sequences"][0]["tokens"] == HOSTILE


def test_text_that_looks_like_a_place_to_fill_is_kept():
    report = decoder_report()
    report.model = "{{script}}"
    assert "<title>Inside {{script}} (decoder)</title>" in render_page(report)


def test_the_title_names_model_architecture_and_text():
    report = decoder_report()
    report.model, report.text = "out", "Where?\n\n\u202eIn </title> " + 30 * "x "
    title = re.search("<title>(.*?)</title>", render_page(report))
    assert title is not None
    assert title[1].startswith("Inside out (decoder): Where? In &lt;/title&gt; x x x ")
    assert title[1].endswith("x...")


@pytest.mark.parametrize("width", [1, 7, 255, 256, 700])
@pytest.mark.parametrize(("kept", "fine"), [(4, False), (16, False), (64, False), (0, True)])
def test_a_code_is_off_by_no_more_than_it_says(width, kept, fine):
    weights = RANDOM.dirichlet(np.full(width, 0.05), 9).astype(np.float32)
    visible = RANDOM.random((9, width)) < 0.7
    # the first row sees nothing, the second one key, the third all
    visible[:3] = False
    visible[1, -1] = visible[2] = True
    weights *= visible
    kept = min(kept, width + width // 255) if kept else 0
    coded = compress_map(weights, visible, kept, fine)
    decoded = decode_map(zlib.decompress(coded.data), coded.code, coded.kept, visible)
    assert np.abs(decoded - weights).max() == pytest.approx(coded.error)
    assert coded.error <= (1e-5 if fine else 1.0)
    assert not decoded[~visible].any()
    # 16 bits of each, or 8 with the true rest
    assert decoded.sum(-1) == pytest.approx(weights.sum(-1), abs=1e-4 if fine else 0.02)


@pytest.mark.parametrize("rows", [144, 73_728, 221_184, 700_000])
@pytest.mark.parametrize("budget", [9_000_000, 14_000_000])
def test_the_kept_keys_fit_into_their_budget(rows, budget):
    if rows * (2 * MIN_KEPT + 4) * 4 / 3 > budget:
        with pytest.raises(ValueError, match="--max_tokens"):
            kept_keys(rows, 512, budget)
    else:
        kept = kept_keys(rows, 512, budget)
        assert kept >= MIN_KEPT
        assert rows * (2 * kept + 4) * 4 / 3 <= budget


def test_the_worst_map_of_512_tokens_12_layers_and_12_heads_fits(tmp_path):
    write_page(large_report(), tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size <= MAX_BYTES
    data = json.loads(re.search(r'id="report">(.*?)</script>', (tmp_path / "page.html").read_text(), re.DOTALL)[1])
    assert data["attention"][0]["blocks"][0]["kept"] >= 60


def test_a_report_that_does_not_fit_is_refused(monkeypatch):
    report = single_stack("decoder", [f"w{i}" for i in range(64)], 2, 2)
    monkeypatch.setattr(page, "FINE_BYTES", 0)
    fixed = len(render_page(report))
    monkeypatch.setattr(page, "MAX_BYTES", fixed - 40_000)
    with pytest.raises(ValueError, match="--max_tokens"):
        render_page(report)


def test_every_synthetic_report_is_written(tmp_path):
    for name in ("encoder", "decoder", "classifier", "seq2seq", "hostile"):
        write_page(getattr(synthetic_reports, f"{name}_report")(), tmp_path / f"{name}.html")
