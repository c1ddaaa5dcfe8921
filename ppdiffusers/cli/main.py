"""`ppdiffusers COMMAND`, with one module for each command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdiffusers.cli import cache, convert, doctor, download, export, info
from ppdiffusers.cli.running import run
from ppdiffusers.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: `sys.argv[1:]`) and return the exit code."""
    parser = argparse.ArgumentParser(prog="ppdiffusers", description="Diffusion pipelines on PaddlePaddle.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    convert.add_parser(commands)
    info.add_parser(commands)
    export.add_parser(commands)
    download.add_parser(commands)
    cache.add_parser(commands)
    doctor.add_parser(commands)
    arguments = parser.parse_args(argv)
    return run(arguments.action, arguments)
