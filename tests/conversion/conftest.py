"""`--write_families`: keep what the parity tests measured, for `hf-tfm families`."""

import json
from typing import Any

import pytest

from hf_tfm.conversion.table import MEASURED, summed

found: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write_families", action="store_true", help="write the measured table into the package")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        found.extend(value for name, value in report.user_properties if name == "family")


def pytest_sessionfinish(session: pytest.Session) -> None:
    # the workers' properties arrive at the process that started them
    if session.config.getoption("write_families", False) and not hasattr(session.config, "workerinput"):
        MEASURED.write_text(json.dumps(summed(found), indent=1) + "\n", encoding="utf-8")
