"""Run scripts of other repositories as they are, with tiny models, and count which ones run.

    python scripts/compat/run_scripts.py ppdiffusers/examples/inference --community ppdiffusers/examples/community
    python scripts/compat/run_scripts.py ppdiffusers/examples/community/README.md --community .../examples/community
    python scripts/compat/run_scripts.py diffusers/examples/community/README.md --community ... --torch
    python scripts/compat/run_scripts.py diffusers/docs/source/en --torch

The scripts are those of ppdiffusers 0.29 (PaddlePaddle/PaddleMIX) and diffusers 0.35.2 in a checkout; they are not part
of this repository. Names of models resolve to tiny folders (models.py), images to local ones (stand_ins.py), and with
--torch `torch` and `diffusers` to Paddle and ppdiffusers (torch_names.py). A script that imports a class, or names a
model, of a system that ppdiffusers does not have lacks it; every other failure is a difference.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import paddle
from imports import imported, resolves
from models import MODELS, make

ROOT = Path(__file__).parents[2]
# Scripts that take more than an hour on a CPU -> text to replace, and its replacement.
FEWER_STEPS = {"image_inpainting-repaint.py": ("num_inference_steps=250", "num_inference_steps=20")}
_BLOCK = re.compile(r"(?ms)^[ \t]*```(?:python|py)[^\n]*\n(.*?)^[ \t]*```")
_NAME = re.compile(r"""["']([\w\-]+/[\w.\-]+?)(?:/(?:unet|vae|text_encoder))?["']""")
_FILES = re.compile(r"\.(py|png|jpe?g|gif|wav|mp4|npy|txt)$")


@dataclass
class Result:
    """What came of one script.

    `kind` is "runs", "differs", "lacks" (a system), "continues" (another script), "other" (not diffusers) or "empty".
    """

    script: str
    kind: str
    detail: str = ""
    seconds: float = 0.0


def missing_names(script: Path) -> list[str]:
    """Names that the script imports from ppdiffusers, or diffusers, and that do not exist."""
    return [name for module, name in imported(script) if not resolves(module, name)]


def snippets(document: Path, folder: Path, parents: str = "") -> list[Path]:
    """Write the Python blocks of a Markdown file to scripts; `parents` is a part of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, block in enumerate(_BLOCK.findall(document.read_text(encoding="utf-8"))):
        found.append(folder / f"{parents}{document.stem}-{number:03}.py")
        found[-1].write_text(re.sub(r"(?m)^(>>> |\.\.\. )", "", textwrap.dedent(block)), encoding="utf-8")
    return found


def scripts_in(path: Path, folder: Path) -> list[Path]:
    """The scripts of a folder, one script, or the blocks of a Markdown file or of a folder with Markdown files."""
    if path.suffix == ".md":
        return snippets(path, folder)
    documents = sorted(path.rglob("*.md")) if path.is_dir() else []
    if documents and not any(path.glob("*.py")):
        parts = [(document, "-".join(document.relative_to(path).parent.parts)) for document in documents]
        return [made for document, name in parts for made in snippets(document, folder, f"{name}-" if name else "")]
    return sorted(path.glob("*.py")) if path.is_dir() else [path]


def undefined_names(text: str) -> list[str]:
    """Names that a program reads and never binds: it continues another one."""
    nodes = list(ast.walk(ast.parse(text)))
    bound = set(dir(builtins)) | {"__file__", "__name__"}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler))}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(alias.name == "*" for alias in node.names):
                return []
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return sorted({node.id for node in nodes if isinstance(node, ast.Name)} - bound)


def names_of_models(text: str) -> list[str]:
    return sorted({name for name in _NAME.findall(text) if not _FILES.search(name) and not name.startswith("http")})


def pipelines_of(text: str, community: Path | None) -> dict[str, Path]:
    """Name -> file of the community pipelines that a script names."""
    files = {name: community / f"{name}.py" for name in re.findall(r"\w+", text)} if community is not None else {}
    return {name: file for name, file in files.items() if file.is_file()}


def not_run(script: Path, community: Path | None) -> Result | None:
    """What came of a script that cannot run; None for a script to run."""
    text = script.read_text(encoding="utf-8")
    try:
        if not ast.parse(text).body:
            return Result(script.name, "empty", "the file has no code")
    except SyntaxError:
        return Result(script.name, "empty", "it is not a whole program")
    if unknown := undefined_names(text):
        return Result(script.name, "continues", f"reads {', '.join(unknown)}")
    if not re.search(r"\b(pp)?diffusers\b", text):
        return Result(script.name, "other", "does not use diffusers")
    files = (script, *pipelines_of(text, community).values())
    if missing := [name for file in files for name in missing_names(file)]:
        return Result(script.name, "lacks", ", ".join(dict.fromkeys(missing)))
    if unknown := [name for name in names_of_models(text) if name not in MODELS]:
        return Result(script.name, "lacks", ", ".join(unknown))
    return None


def run(script: Path, folder: Path, community: Path | None, timeout: float, options: list[str]) -> Result:
    """Run one script in a new folder with its models; `options` are those of stand_ins.py."""
    torch = "--torch" in options
    text = script.read_text(encoding="utf-8")
    names, pipelines = names_of_models(text), pipelines_of(text, community)
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
    parser.add_argument("scripts", type=Path, help="one script or Markdown file, or a folder with them")
    parser.add_argument("--community", type=Path, help="folder with the community pipelines that scripts name")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ppdiffusers-compat"), help="models, logs and results")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one script")
    parser.add_argument("--torch", action="store_true", help="the scripts are written for PyTorch and diffusers")
    parser.add_argument("--quick", action="store_true", help="at most 4 denoising steps")
    parser.add_argument("--list", action="store_true", help="judge the names that scripts use, and run nothing")
    parser.add_argument("--only", default="", help="part of the names of the scripts to run")
    arguments = parser.parse_args()
    results = []
    for script in scripts_in(arguments.scripts, arguments.folder / "snippets"):
        if arguments.only not in script.name:
            continue
        options = [f"--{name}" for name in ("torch", "quick") if getattr(arguments, name)]
        found = not_run(script, arguments.community)
        if found is None and arguments.list:
            found = Result(script.name, "to run")
        results.append(
            found or run(script.resolve(), arguments.folder, arguments.community, arguments.timeout, options)
        )
        found = results[-1]
        print(f"{found.kind:8}{found.seconds:6.0f} s  {found.script}  {found.detail}", flush=True)
    for kind, count in sorted(Counter(result.kind for result in results).items()):
        print(f"{kind}: {count}")


if __name__ == "__main__":
    main()
