"""`ppdiffusers convert --from FAMILY`: a file of an original repository becomes a pipeline; `--to FAMILY` goes back."""

from __future__ import annotations

import argparse

# What lies in `convert/checkpoints`; written out, because `--help` need not wait for Paddle.
FAMILIES = {
    "guided_diffusion": "OpenAI's guided-diffusion and improved-diffusion; --config: the flags of its scripts, or JSON",
    "ddpm": "pytorch_diffusion and ddim; --set resolution=N, or ddim's YAML",
    "compvis_ldm": "CompVis' unconditional latent diffusion with a VQ first stage; --config: its YAML",
    "ncsnpp": "score_sde's NCSN++ (variance exploding); --config: its values as YAML or JSON",
    "dance_diffusion": "Harmonai's Dance Diffusion; --set sample_size=N --set sample_rate=N",
}


def add_arguments(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """The arguments for checkpoints of original repositories."""
    families = " ".join(f"{name}: {text}." for name, text in FAMILIES.items())
    group = parser.add_argument_group(
        "checkpoints of original repositories",
        f"With --from, SRC is one file; with --to FAMILY, DST holds one. {families}",
    )
    group.add_argument("--from", dest="family", choices=FAMILIES, required=required, help="the family SRC belongs to")
    group.add_argument(
        "--config", metavar="FILE", help="its configuration: .yaml, .json, or a text file with command-line flags"
    )
    group.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one value of the configuration, names dotted where they are nested; may be repeated",
    )
    group.add_argument(
        "--no_ema", dest="ema", action="store_false", help="take the trained weights where averaged ones are there too"
    )


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise InputError for arguments that are for the other kind of source."""
    from ppdiffusers.core.errors import InputError

    back = arguments.to in FAMILIES
    of_files = {"--config": arguments.config, "--no_ema": not arguments.ema}
    of_folders = {"--variant": arguments.variant, "--layout": arguments.layout != "transformers"}
    if back:
        others = {"--from": arguments.family, "--format": arguments.format, "--verify": arguments.verify}
        given, remedy = {**of_files, **of_folders, **others}, "leave them out: the weights are written as they are."
    elif arguments.family is not None:
        given, remedy = of_folders, "leave them out: they are for folders."
    else:
        given, remedy = {**of_files, "--set": arguments.settings}, "give --from FAMILY too, or leave them out."
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise InputError("These arguments do not belong to this conversion.", problems=wrong, remedy=remedy)


def convert(arguments: argparse.Namespace) -> None:
    """Convert as the arguments say, to or from an original, and print the report."""
    from ppdiffusers.conversion.original import convert_original
    from ppdiffusers.conversion.to_original import convert_to_original

    if arguments.to in FAMILIES:
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
        )
    if not arguments.quiet:
        report.show()
