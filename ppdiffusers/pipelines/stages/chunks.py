"""Prompts longer than the text encoder reads: chunks that are encoded one by one and joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppdiffusers.pipelines.stages.weighting import parse_weights

COMMA_BACKTRACK = 20  # the web UI's default: so many tokens after a comma move to the next chunk together

Token = tuple[int, float]  # id, weight
Chunk = list[Token]


class Chunker:
    """Makes chunks of texts for one tokenizer.

    Args:
        length: tokens of a chunk, those at its start and its end included.
        syntax: "plain", or "webui": weights, BREAK, and chunks that end at a comma where one is near.
    """

    def __init__(self, tokenizer: Any, length: int, syntax: str):
        self.tokenizer, self.length, self.syntax = tokenizer, length, syntax
        empty = self._ids_of("")
        self.start, self.end = empty[:1], empty[1:]  # what stands around every text
        self.room = length - len(empty)
        self.comma = self._comma() if syntax == "webui" else None

    def chunks(self, text: str) -> list[Chunk]:
        """Chunks of at most `room` tokens, at least one."""
        if self.syntax == "plain":
            sections = [[(token, 1.0) for token in self._inner_ids(text)]]
        else:
            sections = [
                [(token, words.weight) for words in section for token in self._inner_ids(words.text)]
                for section in parse_weights(text)
            ]
        found = [
            chunk for n, section in enumerate(sections) for chunk in self._cut(section, last=n == len(sections) - 1)
        ]
        return found or [[]]

    def _cut(self, tokens: Sequence[Token], last: bool) -> list[Chunk]:
        done: list[Chunk] = []
        chunk: Chunk = []
        for token in tokens:
            if len(chunk) == self.room:
                keep = self._break_at(chunk) if token[0] != self.comma else self.room
                done.append(chunk[:keep])
                chunk = chunk[keep:]
            chunk.append(token)
        return [*done, chunk] if chunk or not last else done

    def _break_at(self, chunk: Chunk) -> int:
        """Where a full chunk ends: after its last comma, if that is near enough."""
        commas = [n for n, (token, _) in enumerate(chunk) if token == self.comma]
        near = commas and self.room - commas[-1] <= COMMA_BACKTRACK
        return commas[-1] + 1 if near else self.room

    def arrays(self, rows: Sequence[Sequence[Chunk]], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chunks of several texts -> ids, mask and weights, [count, texts, length] each; missing chunks are empty."""
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
        """The token of a comma behind a word; SentencePiece has another one for a comma that begins a text."""
        word, with_comma = self._inner_ids("a"), self._inner_ids("a,")
        return with_comma[-1] if with_comma[:-1] == word else None

    def _ids_of(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer([text], padding=False, return_tensors="np")["input_ids"][0]]

    def _inner_ids(self, text: str) -> list[int]:
        ids = self._ids_of(text)
        return ids[len(self.start) : len(ids) - len(self.end)]
