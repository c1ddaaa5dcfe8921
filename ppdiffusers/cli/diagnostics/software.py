"""Check the versions of installed packages and whether they are compatible."""

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
from ppdiffusers.cli.printing import localized
from ppdiffusers.version import __version__

_PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
_OPTIONAL = ("openvino", "paddlenlp", "aistudio-sdk", "torch", "diffusers", "transformers")
# Runs in a separate process: a broken installation may crash the process that imports it.
_DESCRIBE_PADDLE = """
import json, paddle
cuda = paddle.is_compiled_with_cuda()
count = paddle.device.cuda.device_count() if cuda else 0
names = [paddle.device.cuda.get_device_name(n) for n in range(count)]
print(json.dumps({"version": paddle.__version__, "cuda": paddle.version.cuda() if cuda else None, "gpus": names}))
"""
_TIMEOUT = 120  # seconds for one import


def check_software() -> Section:
    """Report Python, Paddle, and the dependencies of ppdiffusers."""
    section = Section(localized("Software", "软件"))
    section.facts.append(("Python", f"{platform.python_version()} ({sys.executable})"))
    section.facts.append(("ppdiffusers", f"{__version__} ({Path(ppdiffusers.__file__).parent})"))
    _check_paddle(section)
    if installed_version("ppdiffusers") is None:
        section.suggestions.append(
            localized(
                "ppdiffusers is not installed, so its dependencies were not checked: pip install -e '.[cpu]'",
                "ppdiffusers 未安装，因此未检查其依赖：pip install -e '.[cpu]'",
            )
        )
    else:
        for requirement in _required(_requirements()):
            _check_requirement(requirement, section)
    for name in _OPTIONAL:
        section.facts.append((name, installed_version(name) or localized("not installed (optional)", "未安装（可选）")))
    if installed_version("paddlenlp"):
        _, error = _run_in_subprocess("import paddlenlp.transformers; print(1)")
        if error:
            section.problems.append(
                localized(
                    f"paddlenlp cannot be imported: {error}. Install compatible versions: "
                    "pip install 'ppdiffusers[paddlenlp]'",
                    f"paddlenlp 无法导入：{error}。请安装相互兼容的版本：pip install 'ppdiffusers[paddlenlp]'",
                )
            )
    if installed_version("aistudio-sdk"):
        _, error = _run_in_subprocess("import aistudio_sdk.hub; print(1)")
        if error:
            section.suggestions.append(
                localized(
                    f"aistudio-sdk cannot be imported: {error}. AI Studio is accessed without it.",
                    f"aistudio-sdk 无法导入：{error}。将不通过它访问 AI Studio。",
                )
            )
    return section


def _check_paddle(section: Section) -> None:
    found = [name for name in _PADDLES if installed_version(name)]
    if len(found) > 1:
        section.problems.append(
            localized(
                "paddlepaddle and paddlepaddle-gpu are both installed and overwrite each other's files: "
                "uninstall both, then install one.",
                "同时安装了 paddlepaddle 和 paddlepaddle-gpu，它们会互相覆盖文件：请先全部卸载，再只安装其中一个。",
            )
        )
    output, error = _run_in_subprocess(_DESCRIBE_PADDLE)
    if error:
        section.facts.append(("Paddle", localized("cannot be imported", "无法导入")))
        section.problems.append(
            localized(
                f"Paddle cannot be imported: {error}. Install it: pip install 'ppdiffusers[cpu]'",
                f"Paddle 无法导入：{error}。请安装：pip install 'ppdiffusers[cpu]'",
            )
        )
        return
    info = json.loads(output)
    build = f"CUDA {info['cuda']}" if info["cuda"] else "CPU"
    section.facts.append(("Paddle", f"{info['version']} ({build})"))
    if info["cuda"]:
        section.facts.append(
            (localized("GPUs", "GPU"), ", ".join(info["gpus"]) or localized("none detected", "未检测到"))
        )
        if not info["gpus"]:
            section.suggestions.append(
                localized(
                    "The GPU build of Paddle is installed, but no GPU is detected: check the driver with `nvidia-smi`.",
                    "安装的是 GPU 版 Paddle，但未检测到 GPU：请用 `nvidia-smi` 检查驱动。",
                )
            )


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in metadata.requires("ppdiffusers") or []]


def _required(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Return the requirements that apply: those of an extra only if the package it is named after is installed."""
    kept = []
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            kept.append(requirement)
            continue
        installed = filter(installed_version, _OPTIONAL)
        extras = [name for name in installed if requirement.marker.evaluate({"extra": name})]
        if extras and requirement.name != extras[0]:
            kept.append(requirement)
    return kept


def _check_requirement(requirement: Requirement, section: Section) -> None:
    version, name = installed_version(requirement.name), requirement.name
    if requirement.marker is None:
        section.facts.append((name, version or localized("not installed", "未安装")))
    if version is None:
        section.problems.append(
            localized(f"{name} is not installed: pip install {name}", f"缺少 {name}：pip install {name}")
        )
    elif not requirement.specifier.contains(version, prereleases=True):
        required = f"{name}{requirement.specifier}"
        section.problems.append(
            localized(
                f"{name} {version} is installed, but {required} is required: pip install '{required}'",
                f"已安装 {name} {version}，但需要 {required}：pip install '{required}'",
            )
        )


def installed_version(name: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _run_in_subprocess(code: str) -> tuple[str, str | None]:
    """Run code in a new interpreter; return the last line it printed, and the error or None."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return "", localized(f"timed out after {_TIMEOUT} s", f"超过 {_TIMEOUT} 秒仍未完成")
    lines, errors = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
    if done.returncode == 0 and lines:
        return lines[-1], None
    return "", errors[-1] if errors else f"exit code {done.returncode}"
