"""Byte-level BPE, as GPT-2 introduced it: the characters that represent bytes, and files of merge rules."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ppdiffusers.core.config_types import shown
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_text
from ppdiffusers.transformers.tokenization_utils import write_text

MergeRule = tuple[str, str]


def byte_symbols() -> dict[int, str]:
    """Return the printable character that represents each byte in the vocabulary."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def read_merges(file: str | os.PathLike, limit: int | None = None) -> list[MergeRule]:
    """Read the first `limit` merge rules of a `merges.txt`, one in each line.

    Raises:
        ConfigError: the file cannot be read, or a line is not a rule.
    """
    rules = [line for line in read_text(file).split("\n") if line and not line.startswith("#version")]
    return [merge_pair(rule, file) for rule in rules[:limit]]


def write_merges(path: Path, merges: Iterable[MergeRule]) -> None:
    """Write a `merges.txt`."""
    write_text(path, "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")


def merge_pair(rule: object, where: str | os.PathLike) -> MergeRule:
    """Return the two tokens of a merge rule, "a b" or ["a", "b"].

    Raises:
        ConfigError: it is not one.
    """
    parts = rule.split() if isinstance(rule, str) else rule if isinstance(rule, list) else []
    if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise ConfigError(f"A merge rule has {len(parts)} parts: {shown(rule)}.", where=where, expected="two parts")
    return parts[0], parts[1]


def check_merges(merges: list[MergeRule], vocabulary: Mapping[str, int], where: str | os.PathLike) -> list[MergeRule]:
    """Return the merge rules, whose parts and results must be in the vocabulary.

    Raises:
        ConfigError: some are not.
    """
    unknown = [pair for pair in merges if any(token not in vocabulary for token in (*pair, pair[0] + pair[1]))]
    if unknown:
        raise ConfigError(
            "Merge rules use tokens that are not in the vocabulary.",
            where=where,
            problems=[shown(f"{first} {second}") for first, second in unknown[:20]],
            remedy="use the merges and the vocabulary of the same tokenizer.",
        )
    return merges
