"""The options of a conversion."""

from __future__ import annotations

from dataclasses import dataclass

from ppdiffusers.core.errors import InputError

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "to": ("paddle", "diffusers"),
    "dtype": (None, "float32", "float16", "bfloat16"),
    "format": (None, "pdparams", "safetensors"),
    "layout": ("transformers", "paddlenlp"),
}


@dataclass(frozen=True)
class Options:
    """How to convert; `convert_diffusers_to_paddle` describes the values."""

    to: str
    dtype: str | None
    format: str
    layout: str
    variant: str | None

    @property
    def source_framework(self) -> str:
        return "pytorch" if self.to == "paddle" else "paddle"


def check_options(
    to: str, dtype: str | None, format: str | None, layout: str = "transformers", variant: str | None = None
) -> Options:
    """Return the options with defaults filled in.

    Raises:
        InputError: a value is unknown or two values contradict each other; the message lists all problems.
    """
    given = {"to": to, "dtype": dtype, "format": format, "layout": layout}
    problems = [
        f"{name}={value!r}: expected one of {', '.join(str(choice) for choice in _CHOICES[name])}"
        for name, value in given.items()
        if value not in _CHOICES[name]
    ]
    if to == "diffusers" and format == "pdparams":
        problems.append("format='pdparams': diffusers cannot read it; omit `format` to write safetensors")
    if to == "diffusers" and layout == "paddlenlp":
        problems.append("layout='paddlenlp': only for Paddle; omit `layout`, the layout of the source is detected")
    if problems:
        raise InputError("These options cannot be used.", problems=problems)
    return Options(to, dtype, format or ("pdparams" if to == "paddle" else "safetensors"), layout, variant)
