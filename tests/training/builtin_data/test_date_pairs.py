"""Dates made by rules: each text stands for one day, and the target is that day."""

import json
import re
from collections import defaultdict
from datetime import datetime

from hf_tfm.training.builtin_data import date_pairs as dates
from hf_tfm.training.utils.hashing import fingerprint

ROWS = dates.date_pairs()


def as_text(value) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def test_dates_are_the_same_on_every_platform():
    # Fixed, so that results stay comparable between releases.
    assert fingerprint(map(as_text, ROWS)) == "023bb134ad862bbf"


# part of a text -> format code of strptime
FORMAT_CODES = {
    r"(\d)(?:st|nd|rd|th)\b": r"\1",
    r"\d+/\d+/\d+ \(mm/dd/yyyy\)": "%m/%d/%Y (mm/dd/yyyy)",
    r"\d+/\d+/\d+ \(dd/mm/yyyy\)": "%d/%m/%Y (dd/mm/yyyy)",
    r"\d{4}\.\d\d\.\d\d": "%Y.%m.%d",
    r"\d{8}": "%Y%m%d",
    r"\b\d{4}\b": "%Y",
    r"\b\d\d?\b": "%d",
    r"\b[A-Z][a-z]+day\b": "%A",
    r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b": "%a",
    r"\b[A-Z][a-z]{2}\b|\b[A-Z]{3}\b": "%b",
    r"\b[A-Z][a-z]+\b": "%B",
}


def test_every_date_is_what_its_text_says():
    by_format = defaultdict(list)
    for row in ROWS:
        date_format = row["source"]
        for part, code in FORMAT_CODES.items():
            date_format = re.sub(part, code, date_format)
        by_format[date_format].append(row)
    # May is its own abbreviation, and days of one digit may follow two spaces: 5 more formats.
    assert len(by_format) == len(dates.date_formats(dates.FIRST_DAY)) + 5, sorted(by_format)
    for date_format, rows in by_format.items():
        for row in rows:
            day = datetime.strptime(re.sub(r"(\d)(?:st|nd|rd|th)\b", r"\1", row["source"]), date_format)
            assert day.date().isoformat() == row["target"], (date_format, row)
            assert not re.match("[A-Z][a-z]+day", row["source"]) or row["source"].startswith(f"{day:%A}"), row
            assert "%a" not in date_format or row["source"].startswith(f"{day:%a}"), row


def test_dates_span_two_centuries_and_leap_days():
    targets = [row["target"] for row in ROWS]
    assert {target[:4] for target in targets} == {str(year) for year in range(1900, 2100)}
    assert sum(target.endswith("02-29") for target in targets) > 5
    assert "1900-02-29" not in targets
    assert [dates.ordinal(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31)] == (
        "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 31st".split()
    )
