"""Fixtures of the training tests: the documentation corpus, read once, and a datasets cache for each test."""

import pytest

from hf_tfm.training.builtin_data.stdlib_corpus import read_stdlib_corpus


@pytest.fixture(scope="session")
def documentation() -> list[str]:
    return read_stdlib_corpus()


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
