"""The prompt syntax of the Stable Diffusion web UI: weights and breaks."""

from __future__ import annotations

import re
from dataclasses import dataclass

UP, DOWN = 1.1, 1 / 1.1  # factors of round and of square brackets
BREAK = "BREAK"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_PIECES = re.compile(
    r"\\(?P<escaped>[()\[\]\\])"
    rf"|:\s*(?P<weight>{_NUMBER})\s*\)"
    r"|(?P<bracket>[()\[\]])"
    r"|(?P<text>[^\\()\[\]:]+|[\\:])"
)
_BREAK = re.compile(rf"\s*\b{BREAK}\b\s*")
_EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")  # <lora:name:0.8>, which the web UI removes from the prompt
_UNSUPPORTED = {
    "prompt editing": re.compile(rf"(?<!\\)\[[^\[\]]*:\s*{_NUMBER}\s*\]"),  # [from:to:0.5], [to:10], [from::10]
    "alternating words": re.compile(r"(?<!\\)\[[^\[\]]*\|[^\[\]]*\]"),  # [cat|dog]
    "prompts joined by AND": re.compile(r"\bAND\b"),
}


@dataclass
class Words:
    """A substring with one weight."""

    text: str
    weight: float = 1.0


def parse_weights(prompt: str) -> list[list[Words]]:
    """Parse a prompt in the web UI's syntax into sections between BREAKs, each a list of weighted substrings.

    `(a)` multiplies the weight by 1.1, `[a]` divides by 1.1, `(a:1.3)` multiplies by 1.3; brackets nest. A bracket that
    is not closed extends to the end; an unmatched closing bracket, and one after a backslash, is literal. The word
    BREAK in capitals ends a section. `<lora:name:0.8>` is removed.
    """
    prompt = _EXTRA_NETWORK.sub("", prompt)
    words: list[Words | None] = []  # None is a BREAK
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for piece in _PIECES.finditer(prompt):
        bracket, weight = piece["bracket"], piece["weight"]
        if bracket in ("(", "["):
            opened[bracket].append(len(words))
        elif weight is not None and opened["("]:
            _multiply(words[opened["("].pop() :], float(weight))
        elif bracket == ")" and opened["("]:
            _multiply(words[opened["("].pop() :], UP)
        elif bracket == "]" and opened["["]:
            _multiply(words[opened["["].pop() :], DOWN)
        else:
            words += _with_breaks(piece["escaped"] or piece.group())
    for start in opened["("]:
        _multiply(words[start:], UP)
    for start in opened["["]:
        _multiply(words[start:], DOWN)
    return _sections(words)


def without_effect(prompt: str) -> list[str]:
    """Return the parts of a prompt that have an effect in the web UI, but not here."""
    tags = [f"{tag} (load the file with `load_lora_weights`)" for tag in _EXTRA_NETWORK.findall(prompt)]
    rest = _EXTRA_NETWORK.sub("", prompt)
    return tags + [f"{part} ({name})" for name, form in _UNSUPPORTED.items() for part in form.findall(rest)]


def _multiply(words: list[Words | None], factor: float) -> None:
    for one in words:
        if one is not None:
            one.weight *= factor


def _with_breaks(text: str) -> list[Words | None]:
    parts: list[Words | None] = []
    for n, part in enumerate(_BREAK.split(text)):
        parts += [None, Words(part)] if n else [Words(part)]
    return parts


def _sections(words: list[Words | None]) -> list[list[Words]]:
    """Split at BREAKs and merge neighbours of the same weight: `a \\(b\\)` is one substring."""
    sections: list[list[Words]] = [[]]
    for one in words:
        if one is None:
            sections.append([])
        elif sections[-1] and sections[-1][-1].weight == one.weight:
            sections[-1][-1].text += one.text
        elif one.text:
            sections[-1].append(one)
    return sections
