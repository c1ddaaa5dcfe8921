"""`ppdiffusers export`: programs that Paddle Inference runs without model code."""

from __future__ import annotations

import argparse


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `export` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "export",
        help="export the networks of a pipeline as Paddle Inference programs",
        description="Run the pipeline once, export each network that it calls as a Paddle Inference program for the "
        "shapes of that run, and compare the program with eager mode. "
        "`ppdiffusers.runtime.export.ExportedProgram(folder)` runs a program.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a pipeline, or the name of a model on a hub")
    parser.add_argument("output", metavar="OUT", help="folder to write; programs in it are replaced")
    parser.add_argument("--prompt", help="prompt, for pipelines with a text encoder")
    parser.add_argument("--height", type=int, help="height of the image in pixels")
    parser.add_argument("--width", type=int, help="width of the image in pixels")
    parser.add_argument("--batch_size", type=int, default=1, help="number of images in a batch (default: 1)")
    parser.add_argument("--num_inference_steps", type=int, default=1, help="denoising steps of the run (default: 1)")
    parser.set_defaults(action=export)


def export(arguments: argparse.Namespace) -> None:
    """Export the networks of a pipeline and print how much each program differs from eager mode."""
    # Imported here so that `ppdiffusers --help` does not import Paddle.
    import inspect

    from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(arguments.model, compile="off")
    known = inspect.signature(type(pipe).__call__).parameters
    given = {
        "prompt": arguments.prompt or "",
        "height": arguments.height,
        "width": arguments.width,
        "num_inference_steps": arguments.num_inference_steps,
        "batch_size": arguments.batch_size,
        "num_images_per_prompt": arguments.batch_size,
    }
    call = {name: value for name, value in given.items() if name in known and value is not None}
    for name, distance in pipe.export(arguments.output, **call).items():
        print(f"{name}: relative difference from eager mode {distance:.1e}")
    print(f"Exported to {arguments.output}")
