"""Trained tokenizers decode every text, put special tokens in the right positions, and are reproducible."""

from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from hf_tfm.modeling.configuration_tfm import TfmEncoderConfig
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.data.tokenizer import END_OF_TEXT, TOKENIZER_STYLES, load_tokenizer, train_tokenizer
from hf_tfm.training.loop.model_creation import choose_model_type, read_config
from hf_tfm.training.loop.tokenizer_creation import make_tokenizer
from hf_tfm.training.objectives import OBJECTIVES

TOKENIZER_TYPES = ["bpe", "characters"]
TEXTS = ["Return the value of the key, or None.", "This module defines classes.  It has no functions.\n\n    >>> x = 1"]
AWKWARD = ["  two  spaces ", "tabs\tand\r\nlines\n", "café 😀 ﷽ 日本", "".join(map(chr, range(256))), "a" * 300, ""]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 5, vocab_size=300, model_max_length=64)


@pytest.fixture(scope="module", params=TOKENIZER_STYLES)
def styled(request):
    return TOKENIZER_STYLES[request.param], train_tokenizer(TEXTS * 5, 300, 64, request.param)


@pytest.mark.parametrize("text", AWKWARD)
def test_decoding_gives_the_text_back(styled, text):
    ids = styled[1](text, add_special_tokens=False).input_ids
    assert styled[1].decode(ids) == text
    assert styled[1].decode(styled[1](text).input_ids, skip_special_tokens=True) == text


def test_saved_tokenizer_is_the_same(styled, tmp_path):
    style, tokenizer = styled
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in AWKWARD:
        assert loaded(text).input_ids == tokenizer(text).input_ids
        assert loaded(text, "more").input_ids == tokenizer(text, "more").input_ids
        assert loaded.decode(loaded(text).input_ids) == tokenizer.decode(tokenizer(text).input_ids)
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    assert loaded.model_max_length == 64
    assert loaded.chat_template == style.chat_template


@pytest.mark.parametrize("tokenizer_type", TOKENIZER_TYPES)
@pytest.mark.parametrize("style", TOKENIZER_STYLES)
def test_special_tokens_exist_and_each_is_one_token(style, tokenizer_type):
    tokenizer = train_tokenizer(TEXTS, 300, 64, style, tokenizer_type)
    for name, token in TOKENIZER_STYLES[style].tokens.items():
        assert getattr(tokenizer, name) == token
        token_id = tokenizer.convert_tokens_to_ids(token)
        assert tokenizer(token, add_special_tokens=False).input_ids == [token_id]
        assert token_id in tokenizer.all_special_ids
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, tokenizer.sep_token_id, None)


@pytest.mark.parametrize(
    ("style", "single", "pair"),
    [
        ("plain", "a", "ab"),
        ("pair", "[CLS]a[SEP]", "[CLS]a[SEP]b[SEP]"),
        ("source", "a</s>", "a</s>b</s>"),
        ("bracketed", "<s>a</s>", "<s>a</s>b</s>"),
        ("chat", "a", "ab"),
    ],
)
def test_special_tokens_surround_the_texts(style, single, pair):
    for tokenizer_type in TOKENIZER_TYPES:
        tokenizer = train_tokenizer(["a b"], 300, 64, style, tokenizer_type)
        assert tokenizer.decode(tokenizer("a").input_ids) == single
        assert tokenizer.decode(tokenizer("a", "b").input_ids) == pair


def test_training_twice_gives_the_same_tokenizer(tokenizer):
    again = train_tokenizer(TEXTS * 5, vocab_size=300, model_max_length=64)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_vocabulary_has_the_requested_size(tokenizer):
    assert len(tokenizer) == 300


def test_a_vocabulary_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="258"):
        train_tokenizer(TEXTS, vocab_size=100, model_max_length=64)


# Characters


@pytest.mark.parametrize("text", ["Return the key.", "  the\n\nlines >>> ", ""])
def test_each_character_is_one_token(text):
    tokenizer = train_tokenizer(TEXTS, 100, 64, "plain", "characters")
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_a_character_not_in_the_training_text_is_unknown():
    tokenizer = train_tokenizer(["abc"], 100, 64, "plain", "characters")
    ids = tokenizer("aéb").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["a", "<|unknown|>", "b"]


def test_more_characters_than_the_vocabulary_are_refused():
    # 2 special tokens, the unknown token and 4 characters
    assert len(train_tokenizer(["abcd"], 7, 64, "plain", "characters")) == 7
    with pytest.raises(ValueError, match="--vocab_size 6") as caught:
        train_tokenizer(["abcd"], 6, 64, "plain", "characters")
    assert "4 different characters" in str(caught.value)


# Chat


def test_the_assistant_mask_covers_answers_and_their_end_tokens():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "A key, or None."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Nothing\nmore."},
    ]
    tokenizer = train_tokenizer(TEXTS * 5, 320, 64, "chat")
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    masked = [token for token, flag in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if flag]
    assert tokenizer.decode(masked) == "A key, or None.<|im_end|>Nothing\nmore.<|im_end|>"
    assert tokenizer.eos_token == "<|im_end|>"
    prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole.startswith(prompt)
    assert whole.removeprefix(prompt).startswith("A key")


# The tokenizer of a run


def make(tmp_path, *arguments, texts=TEXTS, resume_from=None):
    run_args = parse_arguments([*arguments, "--use_cpu", "--output_dir", str(tmp_path)])
    objective = OBJECTIVES[run_args.training.task](run_args.task)
    data = SimpleNamespace(texts=lambda split: iter(texts), streaming=False)
    folder = SimpleNamespace(path=tmp_path, resume_from=resume_from)
    return make_tokenizer(run_args, objective, data, choose_model_type(run_args.model, objective), folder)


def test_an_existing_tokenizer_is_reused_and_saved(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "existing")
    reused = make(tmp_path, "--tokenizer_name", str(tmp_path / "existing"), "--block_size", "8")
    assert len(reused) == 300
    assert reused.model_max_length == 8
    assert len(load_tokenizer(str(tmp_path))) == 300


def test_a_resumed_run_loads_its_tokenizer(tmp_path):
    first = make(tmp_path, "--vocab_size", "270")
    first.save_pretrained(tmp_path / "checkpoint-1")
    again = make(tmp_path, "--vocab_size", "270", texts=["Other text."] * 9, resume_from=str(tmp_path / "checkpoint-1"))
    assert again.get_vocab() == first.get_vocab()
    new = make(tmp_path, "--vocab_size", "270", texts=["Other text."] * 9)
    assert new.get_vocab() != first.get_vocab()


PAIR_TASK = ["--task", "sequence-classification", "--vocab_size", "300"]
TOKEN_TYPE_OPTIONS = {
    "recipe": ["--recipe", "bert"],
    "override": ["--config_overrides", '{"type_vocab_size": 2}'],
    "config_file": ["--config_file", "config.json"],
}
NO_TOKEN_TYPE_OPTIONS = {
    "default": [],
    "override": ["--recipe", "bert", "--config_overrides", '{"type_vocab_size": 0}'],
    "recipe": ["--recipe", "original", "--architecture", "encoder"],
}


@pytest.mark.parametrize("tokenizer_type", TOKENIZER_TYPES)
@pytest.mark.parametrize("options", TOKEN_TYPE_OPTIONS.values(), ids=TOKEN_TYPE_OPTIONS)
def test_a_model_with_token_type_embeddings_gets_token_types(options, tokenizer_type, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TfmEncoderConfig(type_vocab_size=2, vocab_size=300).save_pretrained(tmp_path)
    created = make(tmp_path, *PAIR_TASK, *options, "--tokenizer_type", tokenizer_type)
    for tokenizer in (created, load_tokenizer(str(tmp_path))):
        assert tokenizer("R", "a").token_type_ids == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("options", NO_TOKEN_TYPE_OPTIONS.values(), ids=NO_TOKEN_TYPE_OPTIONS)
def test_a_model_without_token_type_embeddings_gets_none(options, existing, tmp_path):
    train_tokenizer(TEXTS, 300, 64, "pair", with_token_types=True).save_pretrained(tmp_path / "existing")
    name = ["--tokenizer_name", str(tmp_path / "existing")] if existing else []
    created = make(tmp_path / "out", *PAIR_TASK, *options, *name)
    # A new model takes type_vocab_size from an existing tokenizer, unless an option sets it.
    expected = existing and "--config_overrides" not in options
    for tokenizer in (created, load_tokenizer(str(tmp_path / "out"))):
        assert ("token_type_ids" in tokenizer("R", "a")) is expected


@pytest.mark.parametrize("task", ["sequence-classification", "seq2seq"])
def test_architectures_without_token_types_get_none(task, tmp_path):
    train_tokenizer(TEXTS, 300, 64, "bracketed", with_token_types=True).save_pretrained(tmp_path / "existing")
    architecture = ["--architecture", "decoder"] if task == "sequence-classification" else []
    created = make(tmp_path / "out", "--task", task, *architecture, "--tokenizer_name", str(tmp_path / "existing"))
    assert "token_type_ids" not in created("R", "a")


def test_a_character_tokenizer_can_be_chosen(tmp_path):
    assert len(make(tmp_path, "--tokenizer_type", "characters")) == 3 + len(set("".join(TEXTS)))


@pytest.mark.parametrize(
    ("task", "missing"),
    [("causal-lm", "eos_token"), ("masked-lm", "mask_token"), ("denoising", "pad_token"), ("seq2seq", "eos_token"),
     ("question-answering", "pad_token"), ("multiple-choice", "pad_token")],
)  # fmt: skip
def test_a_tokenizer_without_a_required_special_token_is_refused(task, missing, tmp_path):
    tokenizer = train_tokenizer(
        TEXTS, 320, 64, OBJECTIVES[task](parse_arguments([]).task).tokenizer_style("tfm_encoder")
    )
    setattr(tokenizer, missing, None)
    tokenizer.save_pretrained(tmp_path / "incomplete")
    with pytest.raises(ValueError, match=f"no {missing}"):
        make(tmp_path, "--task", task, "--tokenizer_name", str(tmp_path / "incomplete"))


def test_a_chat_template_that_does_not_mark_the_assistant_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="chat template is missing"):
        make(tmp_path, "--task", "chat", "--tokenizer_name", str(tmp_path / "plain"))
    other = train_tokenizer(TEXTS, 320, 64)
    other.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="generation"):
        make(tmp_path, "--task", "chat", "--tokenizer_name", str(tmp_path / "other"))


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"No tokenizer could be read from {tmp_path}"):
        load_tokenizer(str(tmp_path))


# name -> content of a JSON file of a checkpoint
DAMAGES = {
    "empty": b"",
    "cut short": b'{"added_tokens": [{"id"',
    "no text": b"\xff\xfe\x00",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "list": b"[]",
    "null": b"null",
    "nested too deeply": b"[" * 100_000,
    "other fields": b'{"model_type": 3, "tokenizer_class": 3, "added_tokens": 3, "pad_token": 3}',
}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_checkpoint_is_one_line(tokenizer, tmp_path, name, damage):
    tokenizer.save_pretrained(tmp_path)
    TfmEncoderConfig().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(DAMAGES[damage])
    read = read_config if name == "config.json" else load_tokenizer
    with pytest.raises(ValueError, match=f"No [a-z]+ could be read from {tmp_path}: .") as refused:
        read(str(tmp_path))
    assert len(str(refused.value).splitlines()) == 1


def test_end_of_text_is_one_token(tokenizer):
    assert tokenizer(END_OF_TEXT).input_ids == [tokenizer.eos_token_id]
