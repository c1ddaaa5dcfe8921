"""English numbers in words: amounts, years, decimals, ordinals."""

from __future__ import annotations

import re

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS = (
    *("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion", "septillion"),
    *("octillion", "nonillion", "decillion"),
)
# last word of a number -> its ordinal; other words get "th"
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def spell_numbers(text: str) -> str:
    """Replace the numbers of a text by words."""
    text = re.sub(r"[0-9][0-9,]+[0-9]", lambda found: found[0].replace(",", ""), text)
    text = re.sub(r"£([0-9,]*[0-9]+)", r"\1 pounds", text)
    text = re.sub(r"\$([0-9.,]*[0-9]+)", lambda found: _dollars(found[1]), text)
    text = re.sub(r"([0-9]+)\.([0-9]+)", r"\1 point \2", text)
    text = re.sub(r"([0-9]+)(?:st|nd|rd|th)", lambda found: ordinal(int(found[1])), text)
    return re.sub(r"[0-9]+", lambda found: _number(int(found[0])), text)


def cardinal(number: int, conjunction: str = "") -> str:
    """Return a number in words; `conjunction` follows hundreds, and larger units before a number below a hundred."""
    if number >= 1000 ** len(_THOUSANDS):
        return " ".join(_ONES[int(digit)] for digit in str(number))
    if number == 0:
        return _ONES[0]
    rest = number % 1000
    apart = rest if number > rest and rest < 100 else 0  # "one thousand one", but "one thousand, one hundred"
    number, groups = number - apart, []
    for unit in _THOUSANDS:
        number, group = divmod(number, 1000)
        if group:
            groups.append(f"{_below_thousand(group, conjunction)} {unit}".rstrip())
    words = ", ".join(reversed(groups))
    return " ".join(filter(None, [words, conjunction, _below_hundred(apart)])) if apart else words


def ordinal(number: int) -> str:
    """Return an ordinal in words."""
    words = cardinal(number, "and")
    last = re.split(r"\W", words)[-1]
    start = words[: -len(last)]
    if last.endswith("y"):
        return f"{start}{last[:-1]}ieth"
    return start + _ORDINALS.get(last, f"{last}th")


def _below_thousand(number: int, conjunction: str) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if hundreds and rest and conjunction:
        words.append(conjunction)
    return " ".join([*words, _below_hundred(rest)] if rest else words)


def _below_hundred(number: int) -> str:
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def _number(number: int) -> str:
    """Return a number in words; those from 1001 to 2999 are read as years."""
    if not 1000 < number < 3000 or number == 2000:
        return cardinal(number)
    century, year = divmod(number, 100)
    if 2000 < number < 2010:
        return f"two thousand {_ONES[year]}"
    if year == 0:
        return f"{_below_hundred(century)} hundred"
    return f"{_below_hundred(century)} {f'oh {_ONES[year]}' if year < 10 else _below_hundred(year)}"


def _dollars(amount: str) -> str:
    """Return an amount of dollars with its units, the numbers as digits."""
    parts = amount.replace(",", "").split(".")
    if len(parts) > 2:
        return f"{amount} dollars"
    dollars, cents = (int(part or 0) for part in (*parts, "")[:2])
    units = [
        f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in ((dollars, "dollar"), (cents, "cent")) if count
    ]
    return ", ".join(units) or "zero dollars"
