"""`--write_families`: writes what the parity tests measured into `parity_results.json`, for `hf-tfm families`."""

from collections import defaultdict
from typing import Any

import pytest

from hf_tfm.conversion.parity_results import PARITY_RESULTS, read_results, update_results, write_results

measurements: dict[str, list[dict[str, Any]]] = defaultdict(list)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write_families", action="store_true", help=f"write the measured parity into {PARITY_RESULTS.name}"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            if name == "parity":
                measurements[value["family"]].append(value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_xdist_worker = hasattr(session.config, "workerinput")
    if session.config.getoption("write_families", False) and not is_xdist_worker:
        measured = completely_measured()
        write_results(update_results(read_results(), measured))
        print(f"\n{PARITY_RESULTS.name}: wrote {len(measured)} families.")


def completely_measured() -> dict[str, list[dict[str, Any]]]:
    """The measurements of families for which every case passed with every head."""
    from tests.conversion.families.cases import CASES
    from tests.conversion.tiny import case_parameters

    return {
        family: found
        for family, found in measurements.items()
        if len(found) == len(case_parameters({family: CASES[family]}))
    }
