"""Every snippet of both READMEs and of docs/ runs, and the pages have the same content in both languages."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import diffusers
import pytest

from tests.io.hub.servers import PROTOCOLS, serving
from tests.support.ip_adapter import ip_adapter_tensors, save_ip_adapter, tiny_image_encoder
from tests.support.webui import write_tiny_models, write_webui

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "examples/assets/shapes-bilingual"
PAGES = sorted([ROOT / "README.md", ROOT / "README_zh.md", *(ROOT / "docs").glob("*.md")])
# `test_pages_have_the_same_content` checks that the snippets of both languages are equal.
RUN = [page for page in PAGES if page.name != "coming-from-the-web-ui.md"]
# Commands that run elsewhere: in tests/install/test_demo.py, and as the run that contains this test.
RUN_ELSEWHERE = {"make demo", "make test"}


def snippets(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```(python|bash)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder that looks like a clone, in which snippets may write."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("examples", "scripts", "docs", "tests"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The environment of the snippets: local hubs serve the embedded checkpoint and an IP-Adapter for it.

    Their names are those of original models.
    """
    removed = ("OFFLINE", "_PROXY", "_proxy")
    environment = {name: value for name, value in os.environ.items() if not name.endswith(removed)}
    environment |= {"PPDIFFUSERS_CACHE": str(tmp_path_factory.mktemp("cache")), "PPDIFFUSERS_SOURCES": "paddlenlp,hf"}
    config = json.loads((CHECKPOINT / "unet/config.json").read_text("utf-8"))
    adapter, name = tmp_path_factory.mktemp("adapter"), "models/ip-adapter_sd15.safetensors"
    save_ip_adapter(adapter / name, ip_adapter_tensors(diffusers.UNet2DConditionModel.from_config(config)))
    tiny_image_encoder().save_pretrained(adapter / "models/image_encoder")
    with ExitStack() as running:
        for source in ("paddlenlp", "hf"):
            make, variable = PROTOCOLS[source]
            hub = make(CHECKPOINT, "runwayml/stable-diffusion-v1-5")
            hub.add("h94/IP-Adapter", adapter)
            environment[variable] = running.enter_context(serving(hub))
        yield environment


@pytest.fixture(scope="module")
def webui(tmp_path_factory):
    """(folders of a web UI with tiny files, a folder for PYTHONPATH with which they load)."""
    root, modules, work = (tmp_path_factory.mktemp(name) for name in ("webui", "modules", "work"))
    write_webui(root, work)
    write_tiny_models(modules, work)
    return root, modules


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_run(page, clone, network, tmp_path, request):
    """In the order of the page: Python snippets share a namespace, shell snippets share a folder."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for link in clone.iterdir():
        (folder / link.name).symlink_to(link.resolve())
    environment = {
        **network,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    if "web-ui" in page.name:
        files, modules = request.getfixturevalue("webui")
        shutil.copytree(files, folder, dirs_exist_ok=True)
        environment["PYTHONPATH"] += f"{os.pathsep}{modules}"
    python: list[str] = []
    shell = [code for language, code in snippets(page) if language == "bash" and code.strip() not in RUN_ELSEWHERE]
    for language, code in snippets(page):
        if language == "python":
            python.append(code)
    for code in shell:
        done = subprocess.run(
            ["bash", "-e", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    if python:
        script = folder / "snippets.py"
        script.write_text("\n".join(python), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_readmes_have_the_same_content():
    """The same headings, snippets, tables and names in both languages."""
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_zh.md"))
    shape = re.compile(r"^(#+|\||```\w*|- )", flags=re.M)
    assert shape.findall(english) == shape.findall(chinese)
    names = re.compile(r"`([A-Za-z_][\w./]*)`")
    assert set(names.findall(english)) == set(names.findall(chinese))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing, f"{page.name}: {missing}"


def test_install_commands_name_extras_that_exist():
    extras = importlib.metadata.metadata("ppdiffusers").get_all("Provides-Extra")
    for name in ("README.md", "README_zh.md"):
        extras_named = re.findall(r"pip install \"?[\w.]+\[([\w,]+)\]", (ROOT / name).read_text(encoding="utf-8"))
        assert extras_named and {extra for group in extras_named for extra in group.split(",")} <= set(extras)


@pytest.mark.parametrize("name", ["loading", "coming-from-the-web-ui"])
def test_pages_have_the_same_content(name):
    pages = [ROOT / "docs" / f"{name}{language}.md" for language in ("", "_zh")]
    english, chinese = (page.read_text(encoding="utf-8") for page in pages)
    assert snippets(pages[0]) == snippets(pages[1])
    assert re.findall(r"^(#+|\||- )", english, flags=re.M) == re.findall(r"^(#+|\||- )", chinese, flags=re.M)
    variables = re.compile(r"[A-Z]+_[A-Z_]+")
    assert set(variables.findall(english)) == set(variables.findall(chinese))


def test_environment_variables_are_documented():
    """Every `PPDIFFUSERS_` variable that the package reads."""
    read = re.compile(r'["(](PPDIFFUSERS_[A-Z_]+)"')
    used = {name for path in (ROOT / "ppdiffusers").rglob("*.py") for name in read.findall(path.read_text("utf-8"))}
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    assert used and not {name for name in used if name not in pages}
