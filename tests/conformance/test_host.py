"""transformers' own tests on our models."""

import pytest

from . import host

try:
    host.load()
except host.NotAvailable as reason:
    pytest.skip(str(reason), allow_module_level=True)

from .cases import OURS
from .suite import suite

for case in OURS:
    kind = suite(case)
    globals()[kind.__name__] = kind
