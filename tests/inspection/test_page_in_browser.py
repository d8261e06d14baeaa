"""The page in a real browser: offline, by keyboard, in both themes, with the numbers of the report.

The accessibility test also needs axe-core: AXE_CORE=/path/to/axe.min.js."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from hf_tfm.inspection.files import write_json
from hf_tfm.inspection.notebook import NotebookPage
from hf_tfm.inspection.page import write_page

from . import synthetic_reports
from .browser import IN_BROWSER, open_page, requests, settle

pytestmark = IN_BROWSER
NAMES = ("encoder", "decoder", "seq2seq", "classifier", "hostile")
REPORTS = {name: getattr(synthetic_reports, f"{name}_report")() for name in NAMES}
# as WebDriver names them
TAB, ENTER, HOME, UP, RIGHT, DOWN = (chr(code) for code in (0xE004, 0xE007, 0xE011, 0xE013, 0xE014, 0xE015))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, report in REPORTS.items():
        write_page(report, folder / f"{name}.html")
    return folder


def find(browser, selector):
    return browser.find_element("css selector", selector)


def live(browser) -> str:
    return find(browser, "#live").text or browser.execute_script("return document.getElementById('live').textContent")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_without_a_network_and_without_a_complaint(browser, folder, name):
    open_page(browser, folder / f"{name}.html")
    assert requests(browser) == [(folder / f"{name}.html").as_uri()]
    assert browser.get_log("browser") == []
    sections = [section.get_attribute("id") for section in browser.find_elements("css selector", "section.view")]
    order = ["prediction", "lens", "attribution", "attention", "heads", "patching", "stream", "positions", "costs"]
    assert sections == [view for view in order if view != "patching" or REPORTS[name].patching]


def test_hostile_tokens_are_shown_as_they_are(browser, folder):
    open_page(browser, folder / "hostile.html")
    text = browser.execute_script("return document.querySelector('#attention .strip').textContent")
    assert "</script><img src=x onerror=alert(1)>" in text
    assert re.search("a.U\\+202E.b", text)
    assert re.search("nul.U\\+0000.", text)
    assert "\u202e" not in browser.execute_script("return document.body.textContent")
    assert browser.find_elements("css selector", "img, b:empty, main script") == []
    assert browser.title == "Inside </script><img src=x onerror=alert(1)> (decoder)"


def test_what_is_missing_says_why(browser, folder):
    open_page(browser, folder / "classifier.html")
    assert REPORTS["classifier"].absent["lens"] in find(browser, "#lens").text


@pytest.mark.parametrize("name", NAMES)
def test_weights_on_the_page_are_off_by_no_more_than_it_prints(browser, folder, name):
    open_page(browser, folder / f"{name}.html")
    for index, maps in enumerate(REPORTS[name].attention):
        layers, heads, length, _ = maps.weights.shape
        read = """const [index, layer, head, length, done] = arguments;
            Promise.all(Array.from({length}, (_, query) => window.hfTfm.get(index, layer, head, query))).then(done);"""
        for layer, head in ((0, 0), (layers - 1, heads - 1)):
            rows = browser.execute_async_script(read, index, layer, head, length)
            shown = np.array([row["weights"] for row in rows])
            assert np.abs(shown - maps.weights[layer, head]).max() <= rows[0]["error"] * 1.001 + 1e-9
            assert not shown[~maps.visible[layer]].any()


@pytest.mark.parametrize("name", ["decoder", "seq2seq"])
def test_numbers_on_the_page_are_those_of_the_json_file(browser, folder, tmp_path, name):
    write_json(REPORTS[name], tmp_path / "report.json")
    expected = json.loads((tmp_path / "report.json").read_text())
    open_page(browser, folder / f"{name}.html")
    lists = """const plain = (value) => {
          if (value instanceof NumberArray) {
            return {shape: value.shape, values: [...value.values].map((x) => Number.isNaN(x) ? null : x)};
          }
          if (Array.isArray(value)) return value.map(plain);
          if (value === null || typeof value !== "object") return value;
          return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
        };
        const {attention, vocabulary, ...rest} = window.hfTfm.report();
        return {rest: plain(rest), vocabulary};"""
    found = browser.execute_script(lists)
    words = found["vocabulary"]

    def compare(page, file, name):
        if isinstance(page, dict) and set(page) == {"shape", "values"}:
            if name.endswith("labels"):
                page = {**page, "values": [words[index] for index in page["values"]]}
            array = np.array(file, dtype=object)
            assert list(array.shape) == page["shape"], name
            for left, right in zip(page["values"], array.ravel(), strict=True):
                assert left == (right if isinstance(right, str | None) else pytest.approx(right, rel=1e-6)), name
        elif isinstance(page, dict):
            assert set(page) == set(file), name
            for key in page:
                compare(page[key], file[key], f"{name}.{key}")
        elif isinstance(page, list):
            assert len(page) == len(file), name
            for index, (left, right) in enumerate(zip(page, file, strict=True)):
                compare(left, right, f"{name}.{index}")
        else:
            assert page == file, name

    del expected["attention"]
    compare(found["rest"], expected, name)
    # and as text: the bars of the selected token, the sum of its parts
    item = REPORTS[name].attributions[0]
    bars = browser.find_elements("css selector", "#prediction .bar-value")
    best = REPORTS[name].prediction.probabilities[item.position, 0]
    assert bars[0].text == f"{100 * best:.0f} %"
    assert f"{item.logit:.5f}" in find(browser, "#attribution .sum").text


def test_only_layers_that_are_looked_at_are_decoded_and_few_are_kept(browser, folder):
    open_page(browser, folder / "decoder.html")
    sizes = "return [recentLayers.size, recentHeads.size]"
    assert browser.execute_script(sizes) == [1, 1]
    for layer in range(4):
        browser.execute_script("window.hfTfm.select({layer: arguments[0]})", layer)
        settle(browser)
    assert browser.execute_script(sizes) == [3, 4]


def test_a_page_that_cannot_be_drawn_says_so(browser, folder, tmp_path):
    text = (folder / "decoder.html").read_text(encoding="utf-8")
    (tmp_path / "broken.html").write_text(re.sub(r'id="arrays">.', 'id="arrays">!', text), encoding="utf-8")
    browser.get((tmp_path / "broken.html").as_uri())
    browser.execute_async_script("const done = arguments[0]; window.hfTfm.ready.catch(() => done(null));")
    assert find(browser, "#views .warning").text.startswith("The page could not be drawn: ")


def test_the_keyboard_reaches_every_choice(browser, folder):
    open_page(browser, folder / "decoder.html", "#text=22&attention=1&layer=3&head=1")
    report = REPORTS["decoder"]
    weights = report.attention[0].weights

    def tab_to(selector, limit=120):
        for _ in range(limit):
            browser.switch_to.active_element.send_keys(TAB)
            if browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return browser.switch_to.active_element
        raise AssertionError(f"{limit} times Tab did not reach {selector}")

    browser.execute_script("document.querySelector('#selection select').focus()")
    tab_to("select[aria-label=layer]").send_keys(UP)
    settle(browser)
    tab_to("select[aria-label=head]").send_keys(DOWN)
    settle(browser)
    assert re.match("layer 2 head 2: .it. → ", live(browser))
    best = np.argsort(-weights[1, 1, 21])[0]
    assert f"{weights[1, 1, 21, best]:.2g}" in live(browser)
    # the theme
    theme = tab_to("button.theme")
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    theme.send_keys(ENTER, ENTER)
    assert theme.text == "theme: dark"
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    # a cell of the lens
    cell = tab_to("#lens td")
    cell.send_keys(DOWN)
    probability = report.lens.probabilities[-2, 21, 0]
    assert live(browser).startswith("4 attention: ")
    assert f"{100 * probability:.0f} %" in live(browser)
    browser.switch_to.active_element.send_keys(ENTER)
    assert "4 attention" in find(browser, "#lens h3").text
    # a cell of the matrix: one key to the left, then another row
    cell = tab_to("#attention .cursor")
    cell.send_keys(HOME)
    value, error = (float(text.replace("\u2212", "-")) for text in live(browser).split(": ")[1].split(" ± "))
    assert abs(value - weights[1, 1, 21, 0]) <= error
    cell.send_keys(UP, ENTER)
    settle(browser)
    assert "text=21&" in browser.current_url
    # a head in the grid
    tab_to("#heads td").send_keys(RIGHT)
    assert live(browser) == "layer 2 head 3"
    browser.switch_to.active_element.send_keys(ENTER)
    settle(browser)
    assert browser.current_url.endswith("#text=21&attention=1&layer=2&head=3")
    # a token of the text
    strip = find(browser, "#prediction .token[tabindex='0']")
    browser.execute_script("arguments[0].focus()", strip)
    strip.send_keys(HOME)
    browser.switch_to.active_element.send_keys(" ")
    settle(browser)
    assert "text=1&" in browser.current_url


def test_the_address_selects_and_a_layer_is_named_by_its_number(browser, folder, tmp_path):
    report = synthetic_reports.decoder_report()
    report.attention[0].layers = [1, 3, 5, 8]
    write_page(report, tmp_path / "layers.html")
    open_page(browser, tmp_path / "layers.html", "#text=4&attention=1&layer=9&head=2")
    assert re.match("layer 9 head 2: .not. → ", live(browser))
    assert (
        browser.execute_script("return document.querySelector('select[aria-label=layer]').selectedOptions[0].text")
        == "9"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_narrow_screen_needs_no_scrolling_to_the_side(browser, folder, name):
    open_page(browser, folder / f"{name}.html", width=360)
    browser.execute_script("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    # names of parts are not broken into letters
    names = "return [...document.querySelectorAll('#costs tbody th')].map((name) => name.getClientRects()[0].height)"
    assert max(browser.execute_script(names)) < 40


def test_a_frame_of_a_notebook_draws_the_page(browser, tmp_path):
    frame = NotebookPage(REPORTS["decoder"])._repr_html_()
    (tmp_path / "notebook.html").write_text(f"<!doctype html><title>notebook</title>{frame}", encoding="utf-8")
    browser.get((tmp_path / "notebook.html").as_uri())
    browser.switch_to.frame(0)
    settle(browser)
    assert live(browser).startswith("layer 3 head 1: ")
    browser.switch_to.default_content()


AXE = os.environ.get("AXE_CORE", "")


@pytest.mark.skipif(not Path(AXE).is_file(), reason="AXE_CORE names no axe.min.js")
@pytest.mark.parametrize(
    "media", [{"prefers_color_scheme": "light"}, {"prefers_color_scheme": "dark"}, {"forced_colors": "active"}], ids=str
)
def test_axe_finds_no_violation(browser, folder, media):
    open_page(browser, folder / "seq2seq.html", **media)
    browser.execute_script("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    browser.execute_script(Path(AXE).read_text(encoding="utf-8"))
    run = """const done = arguments[0], runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
        axe.run(document, {runOnly, resultTypes: ["violations"]}).then(({violations}) =>
          done(violations.map(({id, nodes}) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`)));"""
    assert browser.execute_async_script(run) == []


# Brettel, Vienot and Mollon 1997 as linear RGB matrices of Machado et al. 2009, severity 1
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def test_colors_keep_their_order_under_color_blindness_and_texts_their_contrast(browser, folder):
    open_page(browser, folder / "decoder.html")
    found = browser.execute_script(
        "const {light, dark} = RAMPS; return [light, dark].map(({amounts, signs}) => ({amounts, signs, "
        "texts: [...amounts, ...signs].map(textOn)}));"
    )
    weights = np.array([0.2126, 0.7152, 0.0722])
    for theme in found:
        colors = np.array([*theme["amounts"], *theme["signs"]]) / 255
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        luminance = linear @ weights
        texts = np.array([1.0 if text == "#ffffff" else 0.0 for text in theme["texts"]])
        high, low = np.maximum(luminance, texts) + 0.05, np.minimum(luminance, texts) + 0.05
        assert (high / low).min() >= 4.5
        for name, matrix in BLINDNESS.items():
            seen = (linear @ np.array(matrix).T).clip(0, 1) @ weights
            amounts, signs = seen[:256], seen[256:]
            assert monotone(amounts), name
            # from the middle to both ends
            assert monotone(signs[128:]), name
            assert monotone(signs[:128]), name


def monotone(values) -> bool:
    """Rising or falling, but for the rounding to 8 bits."""
    steps = np.diff(values)
    return bool((steps >= -0.004).all() or (steps <= 0.004).all())
