"""Outputs that are dataclasses, tuples and dictionaries at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from typing import Any


class BaseOutput(OrderedDict):
    """Base of all output classes; subclasses are decorated with `@dataclass`.

    `out.sample`, `out["sample"]` and `out[0]` are the same thing. Fields that are `None` exist as
    attributes only: they are left out of the keys and of `to_tuple()`, so that positions stay those
    of the values that are really there.
    """

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self)]
        values = getattr(self, names[0]) if names else None
        if isinstance(values, dict) and all(getattr(self, name) is None for name in names[1:]):
            # `Output({"images": ...})`, as in diffusers
            super().__setattr__(names[0], None)
            for name, value in values.items():
                super().__setattr__(name, value)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                super().__setitem__(field.name, value)

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            return super().__getitem__(key)
        return self.to_tuple()[key]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.keys() and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __delitem__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f"{type(self).__name__} keeps its fields: none can be deleted.")

    pop = popitem = setdefault = update = clear = __delitem__

    def __reduce__(self) -> tuple:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def to_tuple(self) -> tuple:
        """The values that are not None, in the order of the fields."""
        return tuple(super(BaseOutput, self).__getitem__(key) for key in self.keys())
