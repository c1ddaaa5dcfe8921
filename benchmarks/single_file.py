"""Time and memory of loading a single file of 2 GB, compared with the same weights as a folder.

    python benchmarks/single_file.py [--rounds 5] [--tiny]

A Stable Diffusion 1.5 with random weights, stored in float16 and loaded in float32. Each load is a process of its own,
folder and file in turns, so that other processes on the machine slow both. The files are in the page cache, as after a
download. The memory is the peak during the load, above what the process had before it and above the weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KINDS = ("folder", "file")
TINY = {
    "unet": {"block_out_channels": [32, 32, 32, 32]},
    "vae": {"block_out_channels": [32, 32, 32, 32]},
    "text_encoder": {"num_hidden_layers": 1},
}


def write(root: Path, tiny: bool) -> None:
    """Write a pipeline as a folder in diffusers' format, and as a single file."""
    from ppdiffusers import StableDiffusionPipeline
    from ppdiffusers.convert.single_files.published import FAMILIES
    from ppdiffusers.pipelines.loaders.single_file_parts import PublishedParts

    family = FAMILIES["sd1"]
    for name, changes in TINY.items() if tiny else ():
        family = family.with_settings(name, **changes)
    parts = PublishedParts(family)
    components: dict[str, Any] = {"safety_checker": None}
    for name in parts.names():
        entry = parts.entry(name)
        assert entry is not None
        has_weights = entry.has_weights
        components[name] = entry.load().from_config(parts.config(name)) if has_weights else parts.load(name)
    pipe = StableDiffusionPipeline(**components, requires_safety_checker=False).to(dtype="float16")
    pipe.save_pretrained(root / "folder", to_diffusers=True)
    pipe.save_single_file(root / "file.safetensors")


def load(kind: str, root: Path) -> None:
    """Load once in this process, and print seconds and MB above the weights."""
    from ppdiffusers import StableDiffusionPipeline

    for path in root.rglob("*.safetensors"):
        path.read_bytes()  # into the page cache
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what the process has now
    before, start = _memory("VmRSS"), time.perf_counter()
    if kind == "folder":
        pipe = StableDiffusionPipeline.from_pretrained(root / "folder")
    else:
        pipe = StableDiffusionPipeline.from_single_file(root / "file.safetensors", config=root / "folder")
    seconds = time.perf_counter() - start
    weights = 4e-6 * sum(layer.num_parameters() for layer in (pipe.unet, pipe.vae, pipe.text_encoder))  # in float32
    above = _memory("VmHWM") - before - weights
    print(json.dumps({"seconds": seconds, "above": above}))


def _memory(name: str) -> float:
    """Return a value of this process in MB: VmRSS, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="small networks, to test this script")
    parser.add_argument("--load", choices=KINDS, help="load once in this process, from --root")
    parser.add_argument("--write", action="store_true", help="write folder and file in this process, to --root")
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    if args.write or args.load:
        write(args.root, args.tiny) if args.write else load(args.load, args.root)
        return
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, __file__, "--root", root]
        subprocess.run([*command, "--write", *(["--tiny"] if args.tiny else [])], check=True)
        print(f"file: {(Path(root) / 'file.safetensors').stat().st_size / 1e9:.2f} GB")
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(args.rounds):
            for kind in KINDS:
                done = subprocess.run([*command, "--load", kind], check=True, stdout=subprocess.PIPE, text=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
                print(
                    f"{kind}: {found[kind][-1]['seconds']:.2f} s, {found[kind][-1]['above']:.0f} MB above the weights"
                )
    seconds = {kind: statistics.median(run["seconds"] for run in runs) for kind, runs in found.items()}
    above = max(run["above"] for run in found["file"])
    print(f"medians: {seconds}; file / folder: {seconds['file'] / seconds['folder']:.2f} (target: 1.2)")
    print(f"largest peak of the file above the weights: {above:.0f} MB (target: 1000)")


if __name__ == "__main__":
    main()
