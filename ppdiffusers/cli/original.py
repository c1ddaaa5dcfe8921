"""`ppdiffusers convert --from FAMILY` converts an original checkpoint to a pipeline folder, `--to FAMILY` back."""

from __future__ import annotations

import argparse

from ppdiffusers.convert.checkpoints.families import FAMILIES

SINGLE_FILE = "single_file"
_SINGLE_FILE_HELP = (
    "single_file: one file with a whole Stable Diffusion, or its UNet, autoencoder or ControlNet, as sharing sites, "
    "the web UI and ComfyUI have it; its kind is recognised."
)


def add_arguments(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the arguments for checkpoints of original repositories."""
    families = " ".join(f"{name}: {family.help}." for name, family in FAMILIES.items())
    group = parser.add_argument_group(
        "checkpoints of original repositories",
        "With --from, SRC is a checkpoint file, or the folder of one that consists of several files; with --to FAMILY, "
        f"one is written to DST. {families} {_SINGLE_FILE_HELP}",
    )
    group.add_argument(
        "--from",
        dest="family",
        choices=(*FAMILIES, SINGLE_FILE),
        required=required,
        help="family of the checkpoint SRC",
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        help="configuration of the original: .yaml, .json, or a text file with command-line flags; for single_file "
        "also the address of a YAML file, or the folder or name on a hub of the model that has the configurations",
    )
    group.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one value of the configuration, with dotted names for nested values; may be repeated",
    )
    group.add_argument(
        "--file",
        dest="files",
        metavar="PART=FILE",
        action="append",
        default=[],
        help="a file of a checkpoint that consists of several, if it is not in the folder SRC; may be repeated",
    )
    group.add_argument(
        "--no_ema",
        dest="ema",
        action="store_false",
        help="convert the trained weights even if the checkpoint contains averaged (EMA) weights",
    )
    group.add_argument(
        "--extract_ema", action="store_true", help="single_file: convert the averaged (EMA) weights if SRC has both"
    )


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise InputError for arguments that another kind of conversion uses."""
    from ppdiffusers.core.errors import InputError

    for_files = {
        "--config": arguments.config,
        "--no_ema": not arguments.ema,
        "--extract_ema": arguments.extract_ema,
        "--file": arguments.files,
    }
    for_folders = {"--variant": arguments.variant, "--layout": arguments.layout != "transformers"}
    if SINGLE_FILE in (arguments.to, arguments.family):
        given, remedy = _not_for_single_files(arguments), "omit them: they do not apply to single files."
    elif arguments.to in FAMILIES:
        others = {"--from": arguments.family, "--format": arguments.format, "--verify": arguments.verify}
        given, remedy = (
            {**for_files, **for_folders, **others},
            "omit them: trained weights of a folder are written unchanged.",
        )
    elif arguments.family is not None:
        given, remedy = (
            {**for_folders, "--extract_ema": arguments.extract_ema},
            "omit them: they apply to folders only.",
        )
    else:
        given, remedy = {**for_files, "--set": arguments.settings}, "pass --from FAMILY too, or omit them."
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise InputError("These arguments do not apply to this conversion.", problems=wrong, remedy=remedy)


def _parts(files: list[str]) -> dict[str, str]:
    """Parse "PART=FILE" arguments."""
    from ppdiffusers.core.errors import InputError

    wrong = [file for file in files if not file.partition("=")[2]]
    if wrong:
        raise InputError("A file has no name of its part.", problems=wrong, expected="--file PART=FILE")
    return dict(file.split("=", 1) for file in files)


def _not_for_single_files(arguments: argparse.Namespace) -> dict[str, object]:
    layout = arguments.layout != "transformers"
    common = {
        "--set": arguments.settings,
        "--layout": layout,
        "--no_ema": not arguments.ema,
        "--file": arguments.files,
    }
    if arguments.family == SINGLE_FILE:
        return {**common, "--variant": arguments.variant, "--to": arguments.to in (*FAMILIES, SINGLE_FILE)}
    others = {"--from": arguments.family, "--format": arguments.format, "--verify": arguments.verify}
    return {**common, **others, "--config": arguments.config, "--extract_ema": arguments.extract_ema}


def convert(arguments: argparse.Namespace) -> None:
    """Convert to or from an original checkpoint and print the report."""
    from ppdiffusers.conversion.original import convert_original
    from ppdiffusers.conversion.single_file import convert_single_file, convert_to_single_file
    from ppdiffusers.conversion.to_original import convert_to_original

    if arguments.to == SINGLE_FILE:
        report = convert_to_single_file(
            arguments.pretrained_model_name_or_path,
            arguments.output_path,
            dtype=arguments.dtype,
            variant=arguments.variant,
            overwrite=arguments.overwrite,
            progress=not arguments.quiet,
        )
    elif arguments.family == SINGLE_FILE:
        report = convert_single_file(
            arguments.pretrained_model_name_or_path,
            arguments.output_path,
            config=arguments.config,
            ema=arguments.extract_ema,
            to=arguments.to or "paddle",
            dtype=arguments.dtype,
            format=arguments.format,
            verify=arguments.verify,
            overwrite=arguments.overwrite,
            progress=not arguments.quiet,
        )
    elif arguments.to in FAMILIES:
        report = convert_to_original(
            arguments.pretrained_model_name_or_path,
            arguments.output_path,
            arguments.to,
            settings=arguments.settings,
            dtype=arguments.dtype,
            overwrite=arguments.overwrite,
            progress=not arguments.quiet,
        )
    else:
        report = convert_original(
            arguments.pretrained_model_name_or_path,
            arguments.output_path,
            arguments.family,
            config=arguments.config,
            settings=arguments.settings,
            ema=arguments.ema,
            to=arguments.to or "paddle",
            dtype=arguments.dtype,
            format=arguments.format,
            verify=arguments.verify,
            overwrite=arguments.overwrite,
            progress=not arguments.quiet,
            files=_parts(arguments.files),
        )
    if not arguments.quiet:
        report.show()
