"""transformers' own tests on its own families, for comparison. Only `results_table.py` runs this file."""

from .build_test_class import build_test_class
from .cases import NATIVE_CASES

globals().update({f"Test{case.title}": build_test_class(case) for case in NATIVE_CASES})
