"""The CMU pronouncing dictionary (http://www.speech.cs.cmu.edu/cgi-bin/cmudict), read from a file of the user."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.files import expand_user
from ppdiffusers.core.reading import read_bytes

_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V"),
    *("W", "Y", "Z", "ZH"),
)
# ARPAbet: vowels without and with stress, in alphabetical order
PHONEMES = tuple(sorted([*_CONSONANTS, *(vowel + stress for vowel in _VOWELS for stress in ("", "0", "1", "2"))]))
_KNOWN = frozenset(PHONEMES)
_ENTRY = re.compile(r"['A-Z]")  # other lines are comments, or the names of punctuation marks
_VARIANT = re.compile(r"\([0-9]+\)")
_FORMAT = 'lines such as "HELLO  HH AH0 L OW1", two spaces after the word'


class CMUDictionary:
    """Pronunciations of English words.

    Args:
        entries: word in capital letters -> phonemes of ARPAbet.
    """

    def __init__(self, entries: Mapping[str, tuple[str, ...]]):
        self.entries = dict(entries)

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> CMUDictionary:
        """Read a dictionary; the first pronunciation of a word counts, those with unknown phonemes do not.

        Raises:
            ConfigError: the file is missing, truncated, or not a dictionary.
        """
        path = expand_user(path)
        lines = read_bytes(path).decode("latin-1").splitlines(keepends=True)  # the published file is not UTF-8
        entries: dict[str, tuple[str, ...]] = {}
        problems = []
        for number, line in enumerate(lines, 1):
            if not _ENTRY.match(line):
                continue
            word, _, pronunciation = line.partition("  ")
            phonemes = tuple(pronunciation.split())
            known = set(phonemes) <= _KNOWN
            if not phonemes:
                problems.append(f"line {number} has no pronunciation: {line.strip()[:80]!r}")
            elif not known and not line.endswith("\n"):
                problems.append(f"the last line ends within a phoneme: {line[:80]!r}")
            elif known:
                entries.setdefault(_VARIANT.sub("", word), phonemes)
        if not entries and not problems:
            problems.append("it has no entry")
        if problems:
            raise ConfigError(
                "The file is not a CMU dictionary, or it is truncated.",
                where=path,
                problems=problems[:10] + [f"and {len(problems) - 10} more"] * (len(problems) > 10),
                expected=_FORMAT,
            )
        return cls(entries)

    def lookup(self, word: str) -> tuple[str, ...] | None:
        """Return the phonemes of a word; None if it has no entry."""
        return self.entries.get(word.upper())

    def __len__(self) -> int:
        return len(self.entries)
