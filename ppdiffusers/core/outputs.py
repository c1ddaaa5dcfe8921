"""Base class of outputs: a dataclass that is also a tuple and a dictionary."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn


class BaseOutput(OrderedDict):
    """Base class of all outputs; subclasses are decorated with `@dataclass`.

    `out.sample`, `out["sample"]` and `out[0]` are the same value. Fields that are `None` are attributes only: they are
    not in the keys and not in `to_tuple()`.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # set by `@dataclass` on subclasses

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

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.keys() and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __delitem__(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(f"The fields of {type(self).__name__} cannot be deleted.")

    if not TYPE_CHECKING:  # their signatures differ from the base class on purpose
        pop = popitem = setdefault = update = clear = __delitem__

    def __reduce__(self) -> tuple:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def to_tuple(self) -> tuple:
        """Return the values that are not None, in the order of the fields."""
        return tuple(super(BaseOutput, self).__getitem__(key) for key in self.keys())
