"""Measure the distance to PyTorch for each component and each pipeline.

    python benchmarks/parity.py            # tiny random networks, all schedulers, the embedded checkpoint: a minute
    python benchmarks/parity.py --full     # Stable Diffusion 1.5's components at full size too, random weights: 12 GB

Weights and inputs are random with fixed seeds. A component's distance is max |ours - theirs| / max |theirs| over all
of its outputs; a pipeline's is max |ours - theirs| of images in [0, 1] after 20 steps from the same seed. Exit code
1 if one is above its tolerance (docs/design.md).
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the tiny checkpoints are those of the tests

import ppdiffusers  # noqa: E402
from ppdiffusers import registry  # noqa: E402
from ppdiffusers.conversion.verify import measure_component  # noqa: E402
from ppdiffusers.convert.model_index import parse_model_index  # noqa: E402
from tests.support.checkpoints import tiny_ddpm, tiny_stable_diffusion  # noqa: E402
from tests.support.parity import randomize  # noqa: E402

PIPELINE_TOLERANCE = 2e-3
SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)
EMBEDDED = ROOT / "examples" / "assets" / "shapes-bilingual"

Row = tuple[str, str, float, float]  # where, what, distance, tolerance


def component_rows(title: str, folder: Path) -> Iterator[Row]:
    """Every component of a pipeline folder."""
    for name, component in parse_model_index(folder).components.items():
        if component.known is not None:
            yield title, f"{name} ({component.known.name})", *_distance(component.known.name, folder / name)


def _distance(class_name: str, folder: Path) -> tuple[float, float]:
    measured = measure_component(registry.components()[class_name], folder, folder)
    worst = max(measured.values(), key=lambda found: found.value)
    return worst.value, worst.tolerance


def pipeline_rows(title: str, folder: Path, prompt: str, schedulers: tuple[str, ...] = SCHEDULERS) -> Iterator[Row]:
    """Images of the same prompt and seed, one row for each scheduler."""
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    ours = ppdiffusers.StableDiffusionPipeline.from_pretrained(folder)
    for scheduler in schedulers:
        theirs.scheduler = getattr(diffusers, scheduler).from_config(theirs.scheduler.config)
        ours.scheduler = getattr(ppdiffusers, scheduler).from_config(ours.scheduler.config)
        yield title, f"20 steps, {scheduler}", _image_distance(ours, theirs, prompt=prompt), PIPELINE_TOLERANCE


def ddpm_rows(title: str, folder: Path) -> Iterator[Row]:
    theirs = diffusers.DDPMPipeline.from_pretrained(folder)
    ours = ppdiffusers.DDPMPipeline.from_pretrained(folder)
    yield title, "20 steps, DDPMScheduler", _image_distance(ours, theirs), PIPELINE_TOLERANCE


def _image_distance(ours: Any, theirs: Any, **call: Any) -> float:
    call |= {"num_inference_steps": 20, "output_type": "np"}
    for pipeline in (ours, theirs):
        pipeline.set_progress_bar_config(disable=True)
    reference = theirs(generator=torch.Generator().manual_seed(0), **call).images
    found = ours(generator=ppdiffusers.TorchGenerator(0), **call).images
    return float(np.abs(found - reference).max())


def full_size() -> dict[str, Callable[[], torch.nn.Module]]:
    """Class name -> a network of Stable Diffusion 1.5, at its size."""
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision |= {"patch_size": 14, "image_size": 224, "projection_dim": 768}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    stages = (128, 256, 512, 512)
    return {
        "CLIPTextModel": lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig(**text, eos_token_id=2)),
        "StableDiffusionSafetyChecker": lambda: StableDiffusionSafetyChecker(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=768)
        ),
        "AutoencoderKL": lambda: diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=stages,
            layers_per_block=2,
            sample_size=512,
        ),
        "UNet2DConditionModel": lambda: diffusers.UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8
        ),
    }


def full_rows(work_dir: Path) -> Iterator[Row]:
    """Measure full-size components one by one, so that only one is in memory."""
    for class_name, make in full_size().items():
        with tempfile.TemporaryDirectory(dir=work_dir) as folder:
            module = randomize(make())
            parameters = sum(parameter.numel() for parameter in module.parameters())
            module.save_pretrained(folder)
            del module
            gc.collect()
            what = f"{class_name}, {parameters / 1e6:,.0f} M"
            yield "SD 1.5 full size, random", what, *_distance(class_name, Path(folder))


def all_rows(work_dir: Path, full: bool) -> Iterator[Row]:
    for variant in ("sd1", "sd2"):
        folder = tiny_stable_diffusion(work_dir, variant=variant)
        yield from component_rows(f"tiny {variant}", folder)
        yield from pipeline_rows(f"tiny {variant}", folder, "a red circle on a white background")
    folder = tiny_ddpm(work_dir)
    yield from component_rows("tiny DDPM", folder)
    yield from ddpm_rows("tiny DDPM", folder)
    yield from component_rows(EMBEDDED.name, EMBEDDED)
    yield from pipeline_rows(EMBEDDED.name, EMBEDDED, "一个红色的圆形，白色背景")
    if full:
        yield from full_rows(work_dir)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="Stable Diffusion 1.5's components at full size too")
    parser.add_argument("--work_dir", type=Path, help="where to write the checkpoints (default: a temporary folder)")
    arguments = parser.parse_args()
    diffusers.utils.logging.disable_progress_bar()
    table = Table(title="Distance to PyTorch (float32, CPU)", title_justify="left")
    for heading, justify in (("where", "left"), ("what", "left"), ("distance", "right"), ("allowed", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)
    failed = False
    with tempfile.TemporaryDirectory(dir=arguments.work_dir) as folder:
        for where, what, distance, tolerance in all_rows(Path(folder), arguments.full):
            failed |= not distance <= tolerance
            table.add_row(
                where, what, f"{distance:.1e}", f"{tolerance:.0e}", style="" if distance <= tolerance else "red"
            )
    Console(width=max(Console().width, 120)).print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
