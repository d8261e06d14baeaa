"""Shared by the training tests: the documentation corpus, read once."""

import pytest

from hf_tfm.training.corpus import Corpus, standard_library_corpus


@pytest.fixture(scope="session")
def documentation() -> Corpus:
    return standard_library_corpus()
