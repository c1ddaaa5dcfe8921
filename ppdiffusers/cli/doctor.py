"""`ppdiffusers doctor`: what is installed, what the machine has, which sources answer, and what is wrong, in words."""

from __future__ import annotations

import argparse

from ppdiffusers.cli.printing import columns, say


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `doctor` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "doctor",
        help="say what is installed, which sources of models answer, and what is wrong",
        description="Print versions, machine, caches and sources, and what is wrong with the installation; the exit "
        "code is 1 if something is. In Chinese where the locale is (PPDIFFUSERS_LANG=zh or en decides).",
    )
    parser.set_defaults(action=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Print the report; 1 if something is wrong."""
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
    remarks = [remark for section in sections for remark in section.remarks]
    print(say("What is wrong", "存在的问题") + (":" if problems else say(": nothing", "：无")))
    print("\n".join(f"  - {problem}" for problem in problems), end="\n" if problems else "")
    if remarks:
        print(say("What could be better:", "可以改进："))
        print("\n".join(f"  - {remark}" for remark in remarks))
    return 1 if problems else 0
