"""Dates written out in words and figures, and what they mean: pairs made by rules, the same on every platform."""

import random
from collections.abc import Callable
from datetime import date, timedelta

__all__ = ["DATE_FORMATS", "NUM_DATE_PAIRS", "date_pairs"]

# Constants, since strftime writes the language of the user's locale.
MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2099, 12, 31)
NUM_DATE_PAIRS = 20_000
SEED = 0


def month(day: date) -> str:
    return MONTHS[day.month - 1]


def weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st, ..."""
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


# Each text names one day only: the order of figures is fixed by a name, by the year in front, or by what stands behind.
DATE_FORMATS: dict[str, Callable[[date], str]] = {
    "American": lambda day: f"{month(day)} {day.day}, {day.year}",
    "British": lambda day: f"{day.day} {month(day)} {day.year}",
    "short": lambda day: f"{day.day} {month(day)[:3]} {day.year}",
    "dashes": lambda day: f"{day.day:02}-{month(day)[:3].upper()}-{day.year}",
    "long": lambda day: f"{weekday(day)}, {ordinal(day.day)} of {month(day)} {day.year}",
    "spoken": lambda day: f"the {ordinal(day.day)} of {month(day)}, {day.year}",
    "mail": lambda day: f"{weekday(day)[:3]}, {day.day:02} {month(day)[:3]} {day.year}",
    "C": lambda day: f"{weekday(day)[:3]} {month(day)[:3]} {day.day:>2} {day.year}",
    "year first": lambda day: f"{day.year}, {month(day)} {ordinal(day.day)}",
    "dots": lambda day: f"{day.year}.{day.month:02}.{day.day:02}",
    "compact": lambda day: f"{day.year}{day.month:02}{day.day:02}",
    "month first": lambda day: f"{day.month:02}/{day.day:02}/{day.year} (mm/dd/yyyy)",
    "day first": lambda day: f"{day.day:02}/{day.month:02}/{day.year} (dd/mm/yyyy)",
}


def date_pairs() -> list[dict[str, str]]:
    """20,000 rows {"source": "Friday, 5th of March 2021", "target": "2021-03-05"}, one per day, no two of a day.

    Days from 1900 to 2099 in shuffled order, written in one of `DATE_FORMATS` each. Split by "target"."""
    # random() alone is promised to give the same numbers in every version of Python; sample and choice are not.
    generator = random.Random(SEED)
    days = range((LAST_DAY - FIRST_DAY).days + 1)
    drawn = sorted(days, key=lambda _: generator.random())[:NUM_DATE_PAIRS]
    formats = list(DATE_FORMATS.values())
    rows = []
    for number in drawn:
        day = FIRST_DAY + timedelta(days=number)
        write = formats[int(generator.random() * len(formats))]
        rows.append({"source": write(day), "target": f"{day.year}-{day.month:02}-{day.day:02}"})
    return rows
