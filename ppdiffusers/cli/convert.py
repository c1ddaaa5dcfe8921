"""`ppdiffusers convert`, and the conversion scripts, which fix its direction."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdiffusers.cli import original
from ppdiffusers.cli.running import run
from ppdiffusers.convert.checkpoints.families import FAMILIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that both directions share."""
    parser.add_argument(
        "--pretrained_model_name_or_path",
        required=True,
        metavar="SRC",
        help="folder of a pipeline (with model_index.json) or of one component (with config.json), or the name of a "
        "model on a hub",
    )
    parser.add_argument(
        "--output_path",
        required=True,
        metavar="DST",
        help="folder to write; it must not exist, or be empty; with --to single_file, the file to write",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="cast floating-point tensors to this dtype (default: keep every tensor bit for bit)",
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
        help="parameter names of text and image encoders written for Paddle (default: transformers)",
    )
    parser.add_argument(
        "--variant", help="convert the weights of this variant, such as fp16 (output file names do not contain it)"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run both frameworks on the same random inputs and fail if they disagree (requires ppdiffusers[verify])",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    parser.add_argument("--quiet", action="store_true", help="print no progress bar and no report")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `convert` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "convert",
        help="convert a folder between PyTorch (diffusers) and Paddle, or an original checkpoint",
        description="Convert a pipeline or component folder between PyTorch (diffusers, transformers) and Paddle; "
        "with --from, convert the checkpoint of an original repository to a pipeline folder.",
    )
    parser.add_argument(
        "--to",
        choices=("paddle", "diffusers", *FAMILIES, original.SINGLE_FILE),
        help="framework to convert to (default: the one that SRC is not for), or a family of original checkpoints",
    )
    add_arguments(parser)
    original.add_arguments(parser)
    parser.set_defaults(action=convert)


def convert(arguments: argparse.Namespace) -> None:
    """Convert and print the report."""
    original.check_arguments(arguments)
    if arguments.family is not None or arguments.to in (*FAMILIES, original.SINGLE_FILE):
        original.convert(arguments)
        return
    # Imported here so that `ppdiffusers --help` does not import Paddle.
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


def run_script(to: str, description: str | None, argv: Sequence[str] | None = None, is_original: bool = False) -> int:
    """Run `convert` with a fixed direction, for the scripts in `scripts/convert/`; return the exit code."""
    parser = argparse.ArgumentParser(description=description)
    add_arguments(parser)
    original.add_arguments(parser, required=is_original)
    parser.set_defaults(to=to)
    return run(convert, parser.parse_args(argv))
