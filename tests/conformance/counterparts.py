"""The host's tests on the host's own families, for comparison; `table.py` runs this file, nothing else collects it."""

from .cases import COUNTERPARTS
from .suite import suite

for case in COUNTERPARTS:
    kind = suite(case)
    globals()[kind.__name__] = kind
