"""Dates in words and figures with their ISO form: pairs made by rules, equal on every platform."""

import random
from datetime import date, timedelta

__all__ = ["date_formats", "date_pairs"]

# Constants, because strftime uses the language of the user's locale.
MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2099, 12, 31)
NUM_DATE_PAIRS = 20_000
SEED = 0


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st, ..."""
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def date_formats(day: date) -> list[str]:
    """A day in every format. Each is unambiguous: a name, a leading year or a note fixes the order of the numbers."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    return [
        f"{month} {day.day}, {day.year}",
        f"{day.day} {month} {day.year}",
        f"{day.day} {month[:3]} {day.year}",
        f"{day.day:02}-{month[:3].upper()}-{day.year}",
        f"{weekday}, {ordinal(day.day)} of {month} {day.year}",
        f"the {ordinal(day.day)} of {month}, {day.year}",
        f"{weekday[:3]}, {day.day:02} {month[:3]} {day.year}",
        f"{weekday[:3]} {month[:3]} {day.day:>2} {day.year}",
        f"{day.year}, {month} {ordinal(day.day)}",
        f"{day.year}.{day.month:02}.{day.day:02}",
        f"{day.year}{day.month:02}{day.day:02}",
        f"{day.month:02}/{day.day:02}/{day.year} (mm/dd/yyyy)",
        f"{day.day:02}/{day.month:02}/{day.year} (dd/mm/yyyy)",
    ]


def date_pairs() -> list[dict[str, str]]:
    """20,000 rows {"source": "Friday, 5th of March 2021", "target": "2021-03-05"}. Split by "target".

    Different days from 1900 to 2099 in shuffled order, each in one of the `date_formats`."""
    # Only random() is guaranteed to give equal numbers in every version of Python; sample and choice are not.
    generator = random.Random(SEED)
    days = range((LAST_DAY - FIRST_DAY).days + 1)
    shuffled = sorted(days, key=lambda _: generator.random())
    rows = []
    for number in shuffled[:NUM_DATE_PAIRS]:
        day = FIRST_DAY + timedelta(days=number)
        texts = date_formats(day)
        rows.append({"source": texts[int(generator.random() * len(texts))], "target": day.isoformat()})
    return rows
