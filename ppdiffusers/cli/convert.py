"""`ppdiffusers convert`, and the two scripts that are the same with the direction fixed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdiffusers.cli import original
from ppdiffusers.cli.running import run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that both directions share."""
    parser.add_argument(
        "--pretrained_model_name_or_path",
        required=True,
        metavar="SRC",
        help="folder of a pipeline (with model_index.json) or of one component (with its config.json), or the name of "
        "a model on a hub",
    )
    parser.add_argument("--output_path", required=True, metavar="DST", help="folder to write; it must not exist yet")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="cast floating-point tensors to this type (default: every tensor keeps the type it has: exact)",
    )
    parser.add_argument(
        "--format",
        choices=("pdparams", "safetensors"),
        help="file format of the weights (default: pdparams for Paddle, safetensors for diffusers)",
    )
    parser.add_argument(
        "--layout",
        choices=("transformers", "paddlenlp"),
        default="transformers",
        help="names of the parameters in text and image encoders written for Paddle (default: transformers)",
    )
    parser.add_argument(
        "--variant", help="convert the weights of this variant, such as fp16 (written without the variant in the name)"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run both frameworks on the same random inputs and fail if they disagree (needs ppdiffusers[verify])",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `convert` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "convert",
        help="convert a folder between PyTorch (diffusers) and Paddle, or an original checkpoint",
        description="Convert a pipeline or component folder between PyTorch (diffusers, transformers) and Paddle; "
        "or, with --from, a checkpoint file of an original repository to the folder of a pipeline.",
    )
    parser.add_argument(
        "--to",
        choices=("paddle", "diffusers", *original.FAMILIES),
        help="the framework to convert to (default: the one that SRC is not for), or the family of originals",
    )
    add_arguments(parser)
    original.add_arguments(parser)
    parser.set_defaults(action=convert)


def convert(arguments: argparse.Namespace) -> None:
    """Convert as the arguments say and print the report."""
    original.check_arguments(arguments)
    if arguments.family is not None or arguments.to in original.FAMILIES:
        original.convert(arguments)
        return
    # Imported here: `ppdiffusers --help` need not wait for Paddle.
    from ppdiffusers.conversion.folder import convert_folder, detect_direction

    to = arguments.to
    if to is None:
        to = detect_direction(arguments.pretrained_model_name_or_path, arguments.variant)
        print(f"{arguments.pretrained_model_name_or_path}: converting to {to}")
    report = convert_folder(
        arguments.pretrained_model_name_or_path,
        arguments.output_path,
        to=to,
        dtype=arguments.dtype,
        format=arguments.format,
        layout=arguments.layout,
        variant=arguments.variant,
        verify=arguments.verify,
        overwrite=arguments.overwrite,
        progress=not arguments.quiet,
    )
    if not arguments.quiet:
        report.show()


def run_script(to: str, description: str | None, argv: Sequence[str] | None = None, of_original: bool = False) -> int:
    """What the scripts in `scripts/convert/` are: `convert` with its direction fixed; returns the exit code."""
    parser = argparse.ArgumentParser(description=description)
    add_arguments(parser)
    original.add_arguments(parser, required=of_original)
    parser.set_defaults(to=to)
    return run(convert, parser.parse_args(argv))
