"""The configurations that are converted in the tests, by family."""

from tests.conversion import cases_basic, cases_classic, cases_encoders, cases_experts, cases_modern, cases_seq2seq
from tests.conversion.tiny import Case

CASES: dict[str, list[Case]] = {
    **cases_basic.CASES,
    **cases_classic.CASES,
    **cases_encoders.CASES,
    **cases_modern.CASES,
    **cases_experts.CASES,
    **cases_seq2seq.CASES,
}
