"""transformers' own tests on our models."""

import pytest

from .downloaded_tests import NotAvailable, import_downloaded_tests

try:
    import_downloaded_tests()
except NotAvailable as reason:
    pytest.skip(str(reason), allow_module_level=True)

from .build_test_class import build_test_class
from .cases import OUR_CASES

globals().update({f"Test{case.title}": build_test_class(case) for case in OUR_CASES})
