"""Run scripts of other repositories as they are, with tiny models, and count which ones run.

    python scripts/compat/run_scripts.py ppdiffusers/examples/inference --community ppdiffusers/examples/community
    python scripts/compat/run_scripts.py ppdiffusers/examples/community/README.md --community .../examples/community
    python scripts/compat/run_scripts.py diffusers/examples/community/README.md --community ... --torch

The scripts are those of ppdiffusers 0.29 (PaddlePaddle/PaddleMIX) and diffusers 0.35.2 in a checkout; they are not part
of this repository. Names of models resolve to tiny folders (models.py), images to local ones (stand_ins.py), and with
--torch `torch` and `diffusers` to Paddle and ppdiffusers (torch_names.py). A script that imports a class, or names a
model, of a system that ppdiffusers does not have lacks it; every other failure is a difference.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import paddle
from imports import imported, resolves

ROOT = Path(__file__).parents[2]
# Scripts that take more than an hour on a CPU -> text to replace, and its replacement.
FEWER_STEPS = {"image_inpainting-repaint.py": ("num_inference_steps=250", "num_inference_steps=20")}
_BLOCK = re.compile(r"(?ms)^[ \t]*```(?:python|py)[^\n]*\n(.*?)^[ \t]*```")
_NAME = re.compile(r"""["']([\w\-]+/[\w.\-]+?)(?:/(?:unet|vae|text_encoder))?["']""")
_FILES = re.compile(r"\.(py|png|jpe?g|gif|wav|mp4|npy|txt)$")


@dataclass
class Result:
    """What came of one script: `kind` is "runs", "lacks", "differs" or "empty"."""

    script: str
    kind: str
    detail: str = ""
    seconds: float = 0.0


def missing_names(script: Path) -> list[str]:
    """Names that the script imports from ppdiffusers, or diffusers, and that do not exist."""
    return [name for module, name in imported(script) if not resolves(module, name)]


def snippets(document: Path, folder: Path) -> list[Path]:
    """Write the Python blocks of a Markdown file to scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, block in enumerate(_BLOCK.findall(document.read_text(encoding="utf-8"))):
        found.append(folder / f"{document.stem}-{number:03}.py")
        found[-1].write_text(re.sub(r"(?m)^(>>> |\.\.\. )", "", textwrap.dedent(block)), encoding="utf-8")
    return found


def names_of_models(text: str) -> list[str]:
    return sorted({name for name in _NAME.findall(text) if not _FILES.search(name) and not name.startswith("http")})


def run(script: Path, folder: Path, community: Path | None, timeout: float, torch: bool = False) -> Result:
    """Run one script in a new folder with its models."""
    from models import MODELS, make

    text = script.read_text(encoding="utf-8")
    try:
        if not ast.parse(text).body:
            return Result(script.name, "empty", "the file has no code")
    except SyntaxError:
        return Result(script.name, "empty", "it is not a whole program")
    used = [name for name in re.findall(r"\w+", text) if community is not None and (community / f"{name}.py").is_file()]
    pipelines = {name: community / f"{name}.py" for name in used} if community is not None else {}
    if missing := [name for file in (script, *pipelines.values()) for name in missing_names(file)]:
        return Result(script.name, "lacks", ", ".join(dict.fromkeys(missing)))
    names = names_of_models(text)
    if unknown := [name for name in names if name not in MODELS]:
        return Result(script.name, "lacks", ", ".join(unknown))
    place = folder / script.stem
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in names:
        made = make(name, folder / "models")
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(made)
    for name, file in pipelines.items():  # as if it had been downloaded, and next to the script
        (place / name).mkdir()
        shutil.copy(file, place / name / "pipeline.py")
        shutil.copy(file, place)
    shortened = script.name in FEWER_STEPS
    if shortened:
        script = place / script.name
        script.write_text(text.replace(*FEWER_STEPS[script.name]), encoding="utf-8")
    if pipelines and script.parent != place:
        script = Path(shutil.copy(script, place))
    if torch and not paddle.is_compiled_with_cuda():  # scripts for a GPU run on this machine's CPU
        script = place / script.name
        script.write_text(re.sub(r"""(["'])cuda(:\d)?\1""", '"cpu"', text), encoding="utf-8")
    if torch:  # tokenizers and image processors return tensors of a library that is named
        for file in (script, *place.rglob("*.py")):
            code = file.read_text(encoding="utf-8")
            file.write_text(re.sub(r"""return_tensors=(["'])pt\1""", 'return_tensors="pd"', code), encoding="utf-8")
    options = ["--torch"] if torch else []
    command = [sys.executable, str(Path(__file__).with_name("stand_ins.py")), *options, str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PPDIFFUSERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PPDIFFUSERS_CACHE"] = str(folder / "cache")
    start = time.monotonic()
    try:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Result(script.name, "differs", f"longer than {timeout:.0f} s", timeout)
    seconds = time.monotonic() - start
    (place / "log.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode == 0:
        return Result(script.name, "runs", " ".join(FEWER_STEPS[script.name][1:]) if shortened else "", seconds)
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    error = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)), lines[-1])
    return Result(script.name, "differs", error[:200], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", type=Path, help="folder with scripts, one script, or a Markdown file")
    parser.add_argument("--community", type=Path, help="folder with the community pipelines that scripts name")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ppdiffusers-compat"), help="models, logs and results")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one script")
    parser.add_argument("--torch", action="store_true", help="the scripts are written for PyTorch and diffusers")
    parser.add_argument("--only", default="", help="part of the names of the scripts to run")
    arguments = parser.parse_args()
    if arguments.scripts.suffix == ".md":
        scripts = snippets(arguments.scripts, arguments.folder / "snippets")
    else:
        scripts = sorted(arguments.scripts.glob("*.py")) if arguments.scripts.is_dir() else [arguments.scripts]
    results = []
    for script in scripts:
        if arguments.only in script.name:
            options = (arguments.folder, arguments.community, arguments.timeout, arguments.torch)
            results.append(run(script.resolve(), *options))
            found = results[-1]
            print(f"{found.kind:8}{found.seconds:6.0f} s  {found.script}  {found.detail}", flush=True)
    for kind in ("runs", "lacks", "differs", "empty"):
        print(f"{kind}: {sum(result.kind == kind for result in results)}")


if __name__ == "__main__":
    main()
