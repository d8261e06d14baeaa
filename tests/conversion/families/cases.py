"""Native configurations that the tests convert, by family."""

from tests.conversion.families import cases_encoders, cases_gpt_like, cases_llama_like, cases_moe, cases_seq2seq
from tests.conversion.tiny import Case

CASES: dict[str, list[Case]] = {
    **cases_encoders.CASES,
    **cases_gpt_like.CASES,
    **cases_llama_like.CASES,
    **cases_moe.CASES,
    **cases_seq2seq.CASES,
}
