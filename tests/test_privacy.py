"""What is written for others holds no secrets and no folders."""

from enum import Enum

import pytest

from hf_tfm.privacy import (
    find_private,
    hide_secret_arguments,
    hide_secret_values,
    shareable,
    shareable_arguments,
    without_secrets,
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hub_token", "S3CRET"], ["--hub-token", "S3CRET"], ["--hub_token=S3CRET"], ["--hub-token=S3CRET"],
        ["--api_key=S3CRET"], ["--wandb_api_key", "S3CRET"], ["--password", "S3CRET"],
        ["--kwargs", '{"token": "S3CRET", "x": 1}'], ["--kwargs", '{"a": {"hub_token":"S3CRET"}}'],
        ["--optim_args", "lr=1,api_key=S3CRET"], ["--train_file", "https://jane:S3CRET@host/data.csv"],
        ["--train_file", "https://S3CRET@host/data.csv"], ["--train_file=s3://x/y?X-Amz-Signature=S3CRET&x=1"],
        ["--data_note", "https://x/y?a=1&sig=S3CRET"], ["--headers", "Authorization: Bearer S3CRET"],
        ["--prompt", "hf_S3CRETabcdefghijklmnop"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_argument_keeps_a_secret(arguments):
    for hide in (hide_secret_arguments, shareable_arguments):
        assert "S3CRET" not in " ".join(hide(arguments))
        assert len(hide(arguments)) == len(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train_file", "data/own.csv"], ["--columns", "text=body", "label=stars"],
        ["--include_num_input_tokens_seen", "all"],
        ["--config_overrides", '{"residual_type": "sandwich", "pad_token_id": 3}'], ["--push_to_hub"],
        ["--dataset_name", "owner/texts"], ["--data_note", "from https://host/a/b, CC BY 4.0; and/or more"],
        ["--train_file", "https://host/a/data.csv?id=3"], ["--prompt", "The token: yes", "a / b"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_other_arguments_stay_as_they_are(arguments):
    assert shareable_arguments(arguments) == arguments


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/home/jane/data.csv", "data.csv"), ("~/data.csv", "data.csv"), ("../jane/data.csv", "data.csv"),
        ("/home/jane doe/my data.csv", "my data.csv"), (r"C:\Users\jane\data.csv", "data.csv"),
        (r"\\server\jane\data.csv", "data.csv"), ("/home/jane/*.txt", "*.txt"), ("/data.csv", "data.csv"),
        ("files in /home/jane/x/data.csv, and more", "files in data.csv, and more"),
        ('{"file": "/home/jane/x.json"}', '{"file": "x.json"}'),
    ],
)  # fmt: skip
def test_absolute_paths_keep_their_last_part(given, expected):
    assert shareable(given) == expected
    assert shareable_arguments([given, f"--option={given}"]) == [expected, f"--option={expected}"]


def test_values_in_lists_and_dictionaries_are_found():
    given = {"hub_token": "abc", "files": ["/home/jane/x", {"password": "abc", "size": 3}], "other_token": None}
    assert shareable(given) == {
        "hub_token": "<HIDDEN>", "files": ["x", {"password": "<HIDDEN>", "size": 3}], "other_token": None,
    }  # fmt: skip


def test_values_that_are_no_text_are_unchanged():
    kind = Enum("Kind", {"A": "/home/jane/x"}, type=str)
    assert shareable(kind.A) is kind.A
    assert shareable((1, None, 2.5)) == (1, None, 2.5)


def test_private_places_of_a_text_are_found(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "any-text-at-all")
    monkeypatch.setenv("HOME", "/home/jane")
    text = "fine\n/home/jane/x\nany-text-at-all\nhf_abcdefghijklmnopqrst\n/home/janet x/home/jane\nC:\\\\data\\\\x\n"
    found = list(find_private(text, ["C:\\data"]))
    assert [line for line, _ in found] == [2, 3, 4, 6]
    assert "any-text-at-all" not in str(found)


def test_secrets_of_the_environment_are_found_anywhere(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "any-text-at-all")
    monkeypatch.setenv("MY_SECRET", "short")
    assert without_secrets("a any-text-at-all b short") == "a <HIDDEN> b short"
    assert hide_secret_values("given-secret any-text-at-all", "given-secret", None) == "<HIDDEN> <HIDDEN>"
