"""transformers' own tests on our models."""

import pytest

from . import host

try:
    host.load()
except host.NotAvailable as reason:
    pytest.skip(str(reason), allow_module_level=True)

from .cases import OURS
from .suite import suite

globals().update({kind.__name__: kind for kind in map(suite, OURS)})
