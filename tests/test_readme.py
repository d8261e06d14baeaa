"""README.md and the pages in model_cards: every Python block runs and prints what is shown below it, every link leads
somewhere, and fields and names are those of the code."""

import ast
import contextlib
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import hf_tfm
from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM
from hf_tfm.conversion.registry import FAMILIES
from hf_tfm.modeling.recipes import RECIPES
from hf_tfm.training.objectives import OBJECTIVES
from tests.documents import DOCUMENTS, PAGES, README, ROOT, Block, blocks, code_spans, is_distributed, named, prose
from tests.parallel.process_group import run_in_two_processes

README_TEXT = README.read_text(encoding="utf-8")
TEST_COMMAND = 'pip install -c constraints.txt -e ".[test]" && pytest -n auto'
# fields of the table of choices that have a registry
CHOICES = (
    "position_type", "residual_type", "norm_type", "mlp_type", "qk_norm", "qk_norm_position", "attention_output_gate",
    "depth_scaling", "width_scaling", "pooling",
)  # fmt: skip
RETIRED = (
    r"\blean\b", r"lean_loss", r"banded", r"eager_blocks", r"hf_tfm\.onednn", r"--work\b", r"--against\b",
    r"--python_set\b", r"--long_texts (refuse|cut)", r"as-they-come", r"\bhosts?\b", r"\bdice\b", r"contenders?\b",
)  # fmt: skip


# Python


def run_python(document: Path, block: Block) -> str:
    """What the block prints. Tracebacks name the document and its line."""
    code = compile("\n" * (block.line - 1) + block.text, str(document), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {"__name__": "__main__"})
    return printed.getvalue()


@named(PAGES)
def test_python_blocks_print_what_is_shown(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block, following in pairwise([*blocks(document), Block("", "", 0)]):
        assert following.language != "text" or block.language == "python", f"{document.name}:{following.line}"
        if block.language == "python" and not is_distributed(block):
            shown = following.text if following.language == "text" else ""
            assert run_python(document, block) == shown, f"{document.name}:{block.line} prints something else"


def test_distributed_blocks_run_in_two_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    TfmDecoderForCausalLM(TfmDecoderConfig(**sizes)).save_pretrained("my-model")
    found = [block.text for path in PAGES for block in blocks(path) if is_distributed(block)]
    assert found
    for text in found:
        run_in_two_processes(exec, text)


# Names and numbers


@named(DOCUMENTS)
def test_fields_in_sentences_exist(document):
    """`field=value`, where the value is a constant."""
    for span in code_spans(document):
        if not re.fullmatch(r"""[a-z_]+=("\w+"|\w+)""", span):
            continue
        tree: Any = ast.parse(f"f({span})", mode="eval").body
        name, value = tree.keywords[0].arg, tree.keywords[0].value
        if name == "attn_implementation":
            assert value.value in ALL_ATTENTION_FUNCTIONS, span
        elif isinstance(value, ast.Constant) and name != "trust_remote_code":
            TfmDecoderConfig(**{name: value.value})


def test_table_of_choices_names_every_value():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", README_TEXT, re.MULTILINE))
    fields: Any = TfmDecoderConfig.__dataclass_fields__
    for name in CHOICES:
        assert re.findall(r"`(\w+)`", rows[name]) == list(fields[name].metadata["registry"]), name


def test_every_recipe_task_and_class_is_named():
    missing = [name for name in RECIPES if f'"{name}"' not in README_TEXT]
    missing += [task for task in OBJECTIVES if f"`{task}`" not in README_TEXT]
    for name in hf_tfm.__all__:
        base, is_head, head = name.partition("For")
        if name.startswith("Tfm") and not name.endswith("Config"):
            rows = [line for line in README_TEXT.splitlines() if f"`{base}For`" in line or not is_head]
            missing += [] if f"`{head or name}`" in "".join(rows) else [name]
    assert not missing


def test_numbers_of_readme_are_those_of_the_pages():
    rows = re.findall(r"^\| [^|]* (\| [^|]* \| [\d., ;]+ \|)$", README_TEXT, re.MULTILINE)
    assert len(rows) == 7
    assert [row for row in rows if row not in (ROOT / "model_cards/speed.md").read_text(encoding="utf-8")] == []
    assert f"{len(FAMILIES)} Hugging Face model types" in README_TEXT


@named(DOCUMENTS)
def test_retired_words_are_gone(document):
    assert [word for word in RETIRED if re.search(word, document.read_text(encoding="utf-8"), re.IGNORECASE)] == []


# Links and size


def anchors(document: Path) -> set[str]:
    """The names of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@named(DOCUMENTS)
def test_links_and_files_exist(document):
    missing = []
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", prose(document)):
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        missing += [] if file.exists() and (not anchor or anchor in anchors(file)) else [target]
    for span in code_spans(document):
        if re.fullmatch(r"(hf_tfm|tests|model_cards)/[\w./-]*|constraints[\w-]*\.txt|train\.py", span):
            missing += [] if (ROOT / span).exists() else [span]
    assert not missing


def test_readme_is_short_and_links_every_page():
    assert len(README.read_bytes()) < 20_000
    assert [path.name for path in PAGES[1:] if f"(model_cards/{path.name})" not in README_TEXT] == []


def test_ci_finds_the_test_command():
    assert re.findall(r"^pip install .*pytest.*$", README_TEXT, re.MULTILINE) == [TEST_COMMAND]
