"""The report of a conversion: the data, and the table that is printed at the end."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 160  # columns of a table that is not printed to a terminal


@dataclass(frozen=True)
class ComponentReport:
    """One component of a converted folder.

    Attributes:
        name: its folder, such as "unet"; "." if it is the whole folder.
        class_name: such as "UNet2DConditionModel".
        tensors: number of tensors written; 0 for a component without weights.
        parameters: number of elements in them.
        dtype: the dtypes in the file, joined by ", ".
        bytes: size of all its files.
        sha256: weights file -> hexadecimal digest.
        distance: largest relative distance between the frameworks, if it was verified.
    """

    name: str
    class_name: str
    tensors: int = 0
    parameters: int = 0
    dtype: str = ""
    bytes: int = 0
    sha256: dict[str, str] = field(default_factory=dict)
    distance: float | None = None


@dataclass(frozen=True)
class ConversionReport:
    """Result of a conversion.

    Attributes:
        source, output: the two folders.
        to: "paddle" or "diffusers", the framework that the output is for.
        components: in the order of `model_index.json`.
        copied: other files that were copied from the source, relative to it.
        left_out: files and folders that were not converted, and the reason.
    """

    source: Path
    output: Path
    to: str
    components: list[ComponentReport]
    copied: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def table(self) -> Table:
        """Return the components as a rich table."""
        verified = any(component.distance is not None for component in self.components)
        table = Table(title=escape(f"{self.source} -> {self.output} ({self.to})"), title_justify="left")
        table.add_column("component", no_wrap=True)
        for heading in ("tensors", "parameters", "dtype", "bytes"):
            table.add_column(heading, justify="left" if heading == "dtype" else "right", no_wrap=True)
        table.add_column("sha256", overflow="fold", min_width=16)
        if verified:
            table.add_column("distance", justify="right", no_wrap=True)
        for component in self.components:
            row = [
                component.name if component.name != "." else _of_whole_folder(component),
                f"{component.tensors:,}" if component.tensors else "-",
                f"{component.parameters:,}" if component.tensors else "-",
                component.dtype or "-",
                f"{component.bytes:,}",
                "\n".join(component.sha256.values()) or "-",
            ]
            if verified:
                row.append("-" if component.distance is None else f"{component.distance:.1e}")
            table.add_row(*row)
        return table

    def notes(self) -> list[str]:
        """Return one line for each file or folder that was left out."""
        return [f"not converted: {name} ({reason})" for name, reason in self.left_out.items()]

    def show(self, console: Console | None = None) -> None:
        """Print the table and the notes; at full width if the output is not a terminal."""
        console = console or Console()
        if not console.is_terminal:
            console = Console(file=console.file, width=WIDTH, color_system=None)
        console.print(self.table())
        for note in self.notes():
            console.print(note, markup=False, highlight=False)

    def __str__(self) -> str:
        buffer = io.StringIO()
        self.show(Console(file=buffer))
        return buffer.getvalue().rstrip()


def _of_whole_folder(component: ComponentReport) -> str:
    """The class, and the file if it has another name than `model`."""
    files = [name for name in component.sha256 if not name.startswith("model")]
    return " ".join([component.class_name, *files])
