"""`ppdiffusers convert --from FAMILY`: one file of an original repository becomes the folder of a pipeline."""

from __future__ import annotations

import argparse

# What lies in `migrate/originals`; written out, because `--help` need not wait for Paddle.
FAMILIES = {
    "guided_diffusion": "OpenAI's guided-diffusion and improved-diffusion; --config: the flags of its scripts, or JSON",
    "ddpm": "pytorch_diffusion and ddim; --set resolution=N, or ddim's YAML",
    "compvis_ldm": "CompVis' unconditional latent diffusion with a VQ first stage; --config: its YAML",
    "ncsnpp": "score_sde's NCSN++ (variance exploding); --config: its values as YAML or JSON",
    "dance_diffusion": "Harmonai's Dance Diffusion; --set sample_size=N --set sample_rate=N",
}


def add_arguments(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """The arguments for checkpoints of original repositories."""
    group = parser.add_argument_group(
        "checkpoints of original repositories",
        "SRC is one file. " + " ".join(f"{name}: {text}." for name, text in FAMILIES.items()),
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

    given = {"--config": arguments.config, "--set": arguments.settings, "--no_ema": not arguments.ema}
    remedy = "give --from FAMILY too, or leave them out."
    if arguments.family is not None:
        given = {"--variant": arguments.variant, "--layout": arguments.layout != "transformers"}
        remedy = "leave them out: they are for folders."
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise InputError("These arguments do not belong to this conversion.", problems=wrong, remedy=remedy)


def convert(arguments: argparse.Namespace) -> None:
    """Convert the file as the arguments say and print the report."""
    from ppdiffusers.migrate.original import convert_original

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
