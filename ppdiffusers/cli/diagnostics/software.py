"""Versions of everything that matters, and whether they go together."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import ppdiffusers
from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.cli.printing import say
from ppdiffusers.version import __version__

_PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
_PARTNERS = ("openvino", "paddlenlp", "aistudio-sdk", "torch", "diffusers", "transformers")
# In a process of its own: a broken installation may end the process that imports it.
_ASK_PADDLE = """
import json, paddle
cuda = paddle.is_compiled_with_cuda()
count = paddle.device.cuda.device_count() if cuda else 0
names = [paddle.device.cuda.get_device_name(n) for n in range(count)]
print(json.dumps({"version": paddle.__version__, "cuda": paddle.version.cuda() if cuda else None, "gpus": names}))
"""
_PATIENCE = 120  # seconds for one import


def check_software() -> Section:
    """Python, Paddle, and the packages that ppdiffusers names."""
    section = Section(say("Software", "软件"))
    section.facts.append(("Python", f"{platform.python_version()} ({sys.executable})"))
    section.facts.append(("ppdiffusers", f"{__version__} ({Path(ppdiffusers.__file__).parent})"))
    _check_paddle(section)
    if installed_version("ppdiffusers") is None:
        section.remarks.append(
            say(
                "ppdiffusers is not installed, so what it needs was not compared: pip install -e '.[cpu]'",
                "ppdiffusers 未安装，因此没有核对它的依赖：pip install -e '.[cpu]'",
            )
        )
    else:
        for requirement in _required(_requirements()):
            _check_requirement(requirement, section)
    for name in _PARTNERS:
        section.facts.append((name, installed_version(name) or say("not installed (optional)", "未安装（可选）")))
    if installed_version("paddlenlp"):
        _, error = _import_elsewhere("import paddlenlp.transformers; print(1)")
        if error:
            section.problems.append(
                say(
                    f"paddlenlp does not import: {error}. Releases that go together: "
                    "pip install 'ppdiffusers[paddlenlp]'",
                    f"paddlenlp 无法导入：{error}。安装相互兼容的版本：pip install 'ppdiffusers[paddlenlp]'",
                )
            )
    if installed_version("aistudio-sdk"):
        _, error = _import_elsewhere("import aistudio_sdk.hub; print(1)")
        if error:
            section.remarks.append(
                say(
                    f"aistudio-sdk does not import: {error}. AI Studio is asked without it.",
                    f"aistudio-sdk 无法导入：{error}。将不通过它访问 AI Studio。",
                )
            )
    return section


def _check_paddle(section: Section) -> None:
    found = [name for name in _PADDLES if installed_version(name)]
    if len(found) > 1:
        section.problems.append(
            say(
                "paddlepaddle and paddlepaddle-gpu are both installed and overwrite each other's files: "
                "pip uninstall both, then install one.",
                "同时安装了 paddlepaddle 和 paddlepaddle-gpu，它们会互相覆盖文件：请先全部卸载，再只安装其中一个。",
            )
        )
    answer, error = _import_elsewhere(_ASK_PADDLE)
    if error:
        section.facts.append(("Paddle", say("does not import", "无法导入")))
        section.problems.append(
            say(
                f"Paddle does not import: {error}. Install it: pip install 'ppdiffusers[cpu]'",
                f"Paddle 无法导入：{error}。请安装：pip install 'ppdiffusers[cpu]'",
            )
        )
        return
    said = json.loads(answer)
    build = f"CUDA {said['cuda']}" if said["cuda"] else "CPU"
    section.facts.append(("Paddle", f"{said['version']} ({build})"))
    if said["cuda"]:
        section.facts.append((say("GPUs", "GPU"), ", ".join(said["gpus"]) or say("none is seen", "未检测到")))
        if not said["gpus"]:
            section.remarks.append(
                say(
                    "This Paddle is made for GPUs and sees none: check the driver with `nvidia-smi`.",
                    "安装的是 GPU 版 Paddle，但未检测到 GPU：请用 `nvidia-smi` 检查驱动。",
                )
            )


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in metadata.requires("ppdiffusers") or []]


def _required(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Those that have to hold: of an extra's, only if the package that the extra is named after is there."""
    kept = []
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            kept.append(requirement)
            continue
        there = filter(installed_version, _PARTNERS)
        extras = [name for name in there if requirement.marker.evaluate({"extra": name})]
        if extras and requirement.name != extras[0]:
            kept.append(requirement)
    return kept


def _check_requirement(requirement: Requirement, section: Section) -> None:
    version, name = installed_version(requirement.name), requirement.name
    if requirement.marker is None:
        section.facts.append((name, version or say("not installed", "未安装")))
    if version is None:
        section.problems.append(say(f"{name} is not installed: pip install {name}", f"缺少 {name}：pip install {name}"))
    elif not requirement.specifier.contains(version, prereleases=True):
        wish = f"{name}{requirement.specifier}"
        section.problems.append(
            say(
                f"{name} {version} is installed, and {wish} is needed: pip install '{wish}'",
                f"已安装 {name} {version}，但需要 {wish}：pip install '{wish}'",
            )
        )


def installed_version(name: str) -> str | None:
    """The release of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _import_elsewhere(code: str) -> tuple[str, str | None]:
    """Run code in a fresh interpreter: (last line it printed, what went wrong)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return "", say(f"it takes longer than {_PATIENCE} s", f"超过 {_PATIENCE} 秒仍未完成")
    lines, errors = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
    if done.returncode == 0 and lines:
        return lines[-1], None
    return "", errors[-1] if errors else f"exit code {done.returncode}"
