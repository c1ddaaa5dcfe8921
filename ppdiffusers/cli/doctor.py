"""`ppdiffusers doctor`: installed software, hardware, caches, reachable hubs, and problems with their solutions."""

from __future__ import annotations

import argparse

from ppdiffusers.cli.printing import columns, localized, printable


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `doctor` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "doctor",
        help="check the installation, the hardware, the caches and the hubs",
        description="Print versions, hardware, caches and hubs, and problems with the installation. The exit code is 1 "
        "if there are problems. The output is Chinese in a Chinese locale; PPDIFFUSERS_LANG=zh or en overrides it.",
    )
    parser.set_defaults(action=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Print the report; return 1 if there are problems."""
    from ppdiffusers.cli.diagnostics.machine import check_machine
    from ppdiffusers.cli.diagnostics.network import check_network
    from ppdiffusers.cli.diagnostics.software import check_software
    from ppdiffusers.cli.diagnostics.storage import check_storage

    sections = [check() for check in (check_software, check_machine, check_storage, check_network)]
    for section in sections:
        print(section.title)
        print(columns([("  " + what, value) for what, value in section.facts]))
        print()
    problems = [problem for section in sections for problem in section.problems]
    suggestions = [suggestion for section in sections for suggestion in section.suggestions]
    print(localized("Problems:", "存在的问题：") + ("" if problems else localized(" none", "无")))
    print("\n".join(f"  - {printable(problem)}" for problem in problems), end="\n" if problems else "")
    if suggestions:
        print(localized("Suggestions:", "改进建议："))
        print("\n".join(f"  - {printable(suggestion)}" for suggestion in suggestions))
    return 1 if problems else 0
