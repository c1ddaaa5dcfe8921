"""An environment that can reach only servers on the loopback interface, and a model to serve."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ppdiffusers.io import http_client
from tests.io.hub.servers import PROTOCOLS, Hub, serving

NOWHERE = "http://127.0.0.1:9"  # no server listens there
UNSET = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PPDIFFUSERS_OFFLINE", "PPDIFFUSERS_SOURCES")
UNSET += ("HF_TOKEN", "MODELSCOPE_API_TOKEN", "AISTUDIO_ACCESS_TOKEN", "AISTUDIO_TOKEN")
UNSET += ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch, tmp_path):
    """Point all hubs to an address without a server, until a test starts one."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for _, variable in PROTOCOLS.values():
        monkeypatch.setenv(variable, NOWHERE)
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AISTUDIO_CACHE_HOME", str(tmp_path / "home"))  # no login
    monkeypatch.setenv("PPDIFFUSERS_TIMEOUT", "5")
    monkeypatch.setattr(http_client, "RETRY_WAITS", (0.01, 0.01, 0.01))


@pytest.fixture
def hub_of(monkeypatch):
    """Start a hub by its name, `hub_of("hf", folder)`, until the end of the test."""
    running = []

    def start(name: str, folder: Path | None = None, model: str = "acme/tiny") -> Hub:
        make, variable = PROTOCOLS[name]
        hub = make(folder, model)
        context = serving(hub)
        hub.address = context.__enter__()
        monkeypatch.setenv(variable, hub.address)
        running.append(context)
        return hub

    yield start
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def no_sockets(monkeypatch):
    """Return a function that makes every later use of a socket fail the test."""

    def refuse():
        def opened(*args, **kwargs):
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", opened)
        monkeypatch.setattr(socket, "create_connection", opened)
        monkeypatch.setattr(socket, "getaddrinfo", opened)

    return refuse


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model's folder: a pipeline of two networks, a scheduler and a tokenizer, and files that are not required."""
    return write_model(tmp_path / "published")


def write_model(root: Path, weights: str = "diffusion_pytorch_model.safetensors", size: int = 200_000) -> Path:
    contents = {
        "model_index.json": b"""{"_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"], "safety_checker": [null, null],
            "requires_safety_checker": false}""",
        "unet/config.json": b"{}",
        f"unet/{weights}": bytes(range(256)) * (size // 256),
        "unet/diffusion_pytorch_model.bin": b"pickle" * 1000,
        "unet/diffusion_pytorch_model.fp16.safetensors": b"half" * 2000,
        "text_encoder/config.json": b"{}",
        "text_encoder/model.safetensors": b"text" * 5000,
        "text_encoder/pytorch_model.bin": b"pickle" * 1000,
        "text_encoder/model.fp16.safetensors": b"half" * 1000,
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"#version: 0.2\n",
        "tokenizer/tokenizer_config.json": b"{}",
        "scheduler/scheduler_config.json": b'{"_class_name": "DDIMScheduler"}',
        "v1-5-pruned.safetensors": b"whole" * 10_000,
        "README.md": b"# A model",
    }
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


NEEDED = {
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
}


def files_under(root: Path) -> dict[str, bytes]:
    """Return the files of a downloaded folder, without its manifest and checksums: path -> content."""
    from ppdiffusers.io.snapshot import BOOKKEEPING

    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name not in BOOKKEEPING}
