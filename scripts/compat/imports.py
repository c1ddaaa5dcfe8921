"""Count the names that other repositories' code imports from ppdiffusers, or from diffusers, and that exist here.

    python scripts/compat/imports.py ppdiffusers/examples ppdiffusers/tests diffusers/examples/community

Each pair of a module and a name counts once. Imports from `diffusers` are judged as imports from `ppdiffusers`.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_PACKAGES = ("ppdiffusers", "diffusers")


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """(module, name) for each absolute import from either package in a file; nothing for a file of Python 2."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            package, dot, rest = node.module.partition(".")
            if package in _PACKAGES:
                yield from ((f"ppdiffusers{dot}{rest}", alias.name) for alias in node.names)


def resolves(module: str, name: str) -> bool:
    """Whether `from module import name` works."""
    try:
        if hasattr(importlib.import_module(module), name) or name == "*":
            return True
        importlib.import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders with Python files")
    parser.add_argument(
        "--missing", action="store_true", help="list the pairs that do not resolve, the most used first"
    )
    arguments = parser.parse_args()
    uses: Counter[tuple[str, str]] = Counter()
    for folder in arguments.folders:
        for file in sorted(folder.rglob("*.py")):
            uses.update(set(imported(file)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated paths resolve, too
        missing = [pair for pair in uses if not resolves(*pair)]
    print(f"{len(uses) - len(missing)} of {len(uses)} pairs resolve")
    if arguments.missing:
        for pair in sorted(missing, key=lambda pair: (-uses[pair], pair)):
            print(f"{uses[pair]:5}  {pair[0]}  {pair[1]}")


if __name__ == "__main__":
    main()
