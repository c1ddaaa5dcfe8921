"""`ppdiffusers export`: program folders that Paddle Inference runs without any model code."""

from __future__ import annotations

import argparse


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `export` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "export",
        help="write Paddle Inference programs of a pipeline's networks",
        description="Write a Paddle Inference program of each network that one run of the pipeline uses, for the "
        "shapes of that run, and compare each with eager mode. "
        "`ppdiffusers.runtime.export.ExportedProgram(folder)` runs one.",
    )
    parser.add_argument("model", metavar="MODEL", help="pipeline folder, or the name of a published model")
    parser.add_argument("output", metavar="OUT", help="folder to write; programs of an earlier export are replaced")
    parser.add_argument("--prompt", help="text for pipelines that take one")
    parser.add_argument("--height", type=int, help="height of the picture in pixels")
    parser.add_argument("--width", type=int, help="width of the picture in pixels")
    parser.add_argument("--batch_size", type=int, default=1, help="pictures at a time (default: 1)")
    parser.add_argument("--num_inference_steps", type=int, default=1, help="steps of the recorded run (default: 1)")
    parser.set_defaults(action=export)


def export(arguments: argparse.Namespace) -> None:
    """Run the pipeline once, export what it used, and print how far each program is from eager mode."""
    # Imported here: `ppdiffusers --help` need not wait for Paddle.
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
        print(f"{name}: differs from eager mode by {distance:.1e} of the largest value")
    print(f"written: {arguments.output}")
