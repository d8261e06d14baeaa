"""The browser that the tests of the page share."""

import pytest

from .browser import start_browser


@pytest.fixture(scope="session")
def browser():
    yield from start_browser()
