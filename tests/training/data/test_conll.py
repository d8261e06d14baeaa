"""All variants of CoNLL columns give the same sentences, and invalid lines are refused with their number."""

import pytest

from hf_tfm.training.data.conll import read_conll


def read(path):
    """The sentences of a file; ValueError for the first problem."""
    rows = list(read_conll(str(path)))
    for row in rows:
        if row.problem:
            raise ValueError(f"{row.location} {row.problem}")
    return {key: [row.values[key] for row in rows] for key in ("tokens", "tags")}


EU = {"tokens": [["EU", "rejects"], ["Peter"]], "tags": [["B-ORG", "O"], ["B-PER"]]}
FILES = {
    "tabs": "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n",
    "spaces": "EU B-ORG\nrejects  O\n\nPeter B-PER",
    "blank lines of white space": "\n\t\n \nEU\tB-ORG\nrejects\tO\n\t\n \t \nPeter\tB-PER\n\t\n",
    "line ends of DOS": "EU\tB-ORG\r\nrejects\tO\r\n\r\nPeter\tB-PER\r\n\t\r\n",
    "byte order mark": "\ufeffEU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n",
    "four columns": "EU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP B-PER\n",
    "documents": "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n-DOCSTART- -X- O\nPeter NNP B-PER\n",
    "comments": "# id 1\n# EU rejects\nEU\tB-ORG\n# in between\nrejects\tO\n\n# 2\nPeter\tB-PER\n# end\n",
    "comments beside spaces": "# one two three\nEU B-ORG\nrejects O\n\n# 2 is this\nPeter B-PER\n",
    "trailing blanks": "EU\tB-ORG \nrejects \tO\t\n\n Peter\t B-PER\n",
}


@pytest.mark.parametrize("variant", FILES)
def test_all_variants_give_the_same_sentences(tmp_path, variant):
    (tmp_path / "a.conll").write_bytes(FILES[variant].encode())
    assert read(tmp_path / "a.conll") == EU


@pytest.mark.parametrize("separator", ["\t", " "])
def test_hash_signs_and_rare_spaces_are_words(tmp_path, separator):
    words = ["#", "#tag", "a\u00a0b", "\u3000", "x\u2028y", "\x0c", "\x85"]
    text = "x O\n# O\n".replace(" ", separator) + "".join(f"{word}{separator}O\n" for word in words)
    (tmp_path / "a.conll").write_bytes(text.encode())
    assert read(tmp_path / "a.conll") == {"tokens": [["x", "#", *words]], "tags": [["O"] * 9]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "EU\tO\n\nrejects\n",
            r"a.conll, line 3 has 1 column\(s\) in line 3 \('rejects'\), but 2 in line 1; .* by tabs",
        ),
        ("EU\tO\nthe call\n", r"1 column\(s\) in line 2 \('the call'\)"),
        ("EU\tO\n\tO\n", r"1 column\(s\) in line 2 \('O'\)"),
        ("# c\nEU O\nthe NN O\n", r"3 column\(s\) in line 3 \('the NN O'\), but 2 in line 2; .* by spaces"),
        ("EU\tO\n# \tX\tO\n", r"3 column\(s\) in line 2"),
        ("\nEU\nrejects\n", r"line 2: no token and tag in 'EU'"),
        ("", r"line 1: no token and tag in ''"),
        ("# only\n", r"no token and tag"),
    ],
)
def test_wrong_columns_are_refused(tmp_path, text, message):
    (tmp_path / "a.conll").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.conll")


def test_sentences_are_located_and_one_with_a_wrong_line_has_a_problem(tmp_path):
    (tmp_path / "a.conll").write_text("EU\tO\n\nsee\tO\nrejects\n\nPeter\tO\n")
    rows = list(read_conll(str(tmp_path / "a.conll")))
    assert [row.location.split(", ")[-1] for row in rows] == ["line 1", "line 3", "line 6"]
    assert [bool(row.problem) for row in rows] == [False, True, False]
