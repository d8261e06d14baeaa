"""The host's tests on the host's own families, for comparison; `table.py` runs this file, nothing else collects it."""

from .cases import COUNTERPARTS
from .suite import suite

globals().update({kind.__name__: kind for kind in map(suite, COUNTERPARTS)})
