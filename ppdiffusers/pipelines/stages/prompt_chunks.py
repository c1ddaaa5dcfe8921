"""Splitting prompts into chunks that a text encoder reads one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ppdiffusers.pipelines.stages.prompt_weights import parse_weights

if TYPE_CHECKING:
    from ppdiffusers.transformers.tokenization_utils import PretrainedTokenizer

COMMA_BACKTRACK = 20  # default of the web UI: at most this number of tokens after a comma moves to the next chunk

Token = tuple[int, float]  # id, weight
Chunk = list[Token]


class Chunker:
    """Split prompts into chunks for one tokenizer.

    Args:
        length: number of tokens of a chunk, including its start and end tokens.
        syntax: "plain", or "webui": weights, BREAK, and chunks that end at a nearby comma.
    """

    def __init__(self, tokenizer: PretrainedTokenizer, length: int, syntax: str):
        self.tokenizer, self.length, self.syntax = tokenizer, length, syntax
        empty = self._ids_of("")
        self.start, self.end = empty[:1], empty[1:]  # special tokens around every prompt
        self.capacity = length - len(empty)
        self.comma = self._comma() if syntax == "webui" else None

    def chunks(self, prompt: str) -> list[Chunk]:
        """Split a prompt into at least one chunk of at most `capacity` tokens."""
        if self.syntax == "plain":
            sections = [[(token, 1.0) for token in self._inner_ids(prompt)]]
        else:
            sections = [
                [(token, words.weight) for words in section for token in self._inner_ids(words.text)]
                for section in parse_weights(prompt)
            ]
        found = [
            chunk for n, section in enumerate(sections) for chunk in self._cut(section, last=n == len(sections) - 1)
        ]
        return found or [[]]

    def _cut(self, tokens: Sequence[Token], last: bool) -> list[Chunk]:
        done: list[Chunk] = []
        chunk: Chunk = []
        for token in tokens:
            if len(chunk) == self.capacity:
                keep = self._break_at(chunk) if token[0] != self.comma else self.capacity
                done.append(chunk[:keep])
                chunk = chunk[keep:]
            chunk.append(token)
        return [*done, chunk] if chunk or not last else done

    def _break_at(self, chunk: Chunk) -> int:
        """Index at which a full chunk ends: after its last comma, if that is near enough."""
        commas = [n for n, (token, _) in enumerate(chunk) if token == self.comma]
        near = commas and self.capacity - commas[-1] <= COMMA_BACKTRACK
        return commas[-1] + 1 if near else self.capacity

    def arrays(self, rows: Sequence[Sequence[Chunk]], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, mask and weights [count, B, length] of the chunks of B prompts; missing chunks are empty."""
        ids = np.full((count, len(rows), self.length), self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        weights = np.ones(ids.shape, dtype=np.float32)
        for row, chunks in enumerate(rows):
            for n in range(count):
                chunk = chunks[n] if n < len(chunks) else []
                whole = [*self.start, *(token for token, _ in chunk), *self.end]
                ids[n, row, : len(whole)] = whole
                mask[n, row, : len(whole)] = 1
                first = len(self.start)
                weights[n, row, first : first + len(chunk)] = [weight for _, weight in chunk]
        return ids, mask, weights

    def _comma(self) -> int | None:
        """The token of a comma after a word; SentencePiece has another token for a comma at the start of a string."""
        word, with_comma = self._inner_ids("a"), self._inner_ids("a,")
        return with_comma[-1] if with_comma[:-1] == word else None

    def _ids_of(self, string: str) -> list[int]:
        return [int(token) for token in self.tokenizer([string], padding=False, return_tensors="np")["input_ids"][0]]

    def _inner_ids(self, string: str) -> list[int]:
        ids = self._ids_of(string)
        return ids[len(self.start) : len(ids) - len(self.end)]
