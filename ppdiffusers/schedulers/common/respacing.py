"""OpenAI's respacing of timesteps, as in improved-diffusion, guided-diffusion and GLIDE.

Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, section 4; "ddim" is the spacing of Song et al. 2020,
https://arxiv.org/abs/2010.02502, appendix D.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ppdiffusers.core.errors import InputError

EXPECTED = 'a number of steps, such as 100 or "100"; "ddim50"; "fast27"; or steps of equal sections, such as "10,5,2"'


def respaced_timesteps(respacing: str | int | Sequence[int], num_train: int) -> list[int]:
    """Return decreasing timesteps.

    Args:
        respacing: a number of steps; numbers of steps in sections of equal length, the clean end first, as a list or
            "10,5,2"; "ddimN" for N steps of equal distance; "fast27" for GLIDE's 27 steps of the upsampler.
        num_train: T.

    Raises:
        InputError: it is none of these, or there are too many steps.
    """
    text = ",".join(map(str, respacing)) if isinstance(respacing, list | tuple) else str(respacing).replace(" ", "")
    if text == "fast27":
        steps = set(respaced_timesteps("10,10,3,2,2", num_train))
        # not the noisiest timestep: it causes artifacts with DDIM
        return sorted(steps - {num_train - 1} | {num_train - 3}, reverse=True)
    if re.fullmatch(r"ddim\d{1,9}", text):
        return _strided(int(text[len("ddim") :]), num_train)
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise InputError("The respacing is unknown.", where=f"respacing={respacing!r}", expected=EXPECTED)
    return _sections([int(part) for part in text.split(",")], num_train)


def _strided(count: int, num_train: int) -> list[int]:
    """Return `count` multiples of one stride."""
    for stride in range(1, num_train):
        steps = range(0, num_train, stride)
        if len(steps) == count:
            return list(reversed(steps))
    nearest = sorted({len(range(0, num_train, s)) for s in range(1, num_train)}, key=lambda n: abs(n - count))[:4]
    raise InputError(
        f"No stride divides {num_train} timesteps into exactly {count} steps.",
        where=f"respacing='ddim{count}'",
        expected=f"another number of steps, such as {', '.join(map(str, sorted(nearest)))}",
    )


def _sections(counts: list[int], num_train: int) -> list[int]:
    """Return `counts[i]` evenly spaced timesteps of the i-th section, both of its ends included."""
    sizes = [num_train // len(counts) + (n < num_train % len(counts)) for n in range(len(counts))]
    problems = [
        f"section {n} has {size} timesteps, of which {count} cannot be taken"
        for n, (size, count) in enumerate(zip(sizes, counts, strict=True))
        if count > size
    ]
    if problems or not any(counts):
        problems = problems or ["there is no step"]
        raise InputError("The respacing does not fit the schedule.", problems=problems, expected=EXPECTED)
    steps: list[int] = []
    for start, size, count in zip(np.cumsum([0, *sizes[:-1]]), sizes, counts, strict=True):
        stride = 1 if count <= 1 else (size - 1) / (count - 1)
        # sums, not products: rounding of halves depends on it
        positions = np.cumsum([0.0, *[stride] * (count - 1)])[:count]
        steps += [int(start) + round(float(position)) for position in positions]
    return steps[::-1]
