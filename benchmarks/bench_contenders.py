"""The contenders of `bench.py`: each is a process that prepares and runs workloads on request.

Run as `python bench_contenders.py NAME`: requests are lines of JSON on standard input, responses go to standard output.
All networks have the shapes of Stable Diffusion 1.5 and random weights.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOKENIZER = Path(__file__).parents[1] / "examples" / "assets" / "shapes-bilingual" / "tokenizer"
UNET = {"cross_attention_dim": 768, "sample_size": 64}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 512,
}
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
TEXT = {**TEXT, "vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 2}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
STEPS = 4
SECOND = "ppdiffusers openvino float32, second process"


def inputs(workload: str) -> tuple:
    """Return the arguments of one call as arrays."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    if workload.startswith("unet"):
        size = int(workload.removeprefix("unet"))
        return normal(2, 4, size, size), np.asarray(500), normal(2, 77, 768)
    return {"vae": (normal(1, 4, 64, 64),), "text": (rng.integers(3, 49000, (2, 77)),), "image": ()}[workload]


class Torch:
    """diffusers: eager, with torch.compile, or converted to OpenVINO."""

    def __init__(self, kind: str, dtype: str):
        import torch

        self.torch, self.kind, self.dtype = torch, kind, getattr(torch, dtype)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        torch.set_grad_enabled(False)

    def _unet(self) -> Any:
        import diffusers

        return diffusers.UNet2DConditionModel(**UNET).to(self.dtype).eval()

    def _vae(self) -> Any:
        import diffusers

        return diffusers.AutoencoderKL(**VAE).to(self.dtype).eval()

    def _text(self) -> Any:
        import transformers

        return transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT)).to(self.dtype).eval()

    def prepare(self, workload: str) -> Callable[[], Any]:
        if workload == "image":
            return self._prepare_image()
        torch = self.torch
        network = {"u": self._unet, "v": self._vae, "t": self._text}[workload[0]]()
        arguments = [torch.from_numpy(np.asarray(array)) for array in inputs(workload)]
        arguments = [a.to(self.dtype) if a.is_floating_point() else a for a in arguments]
        call = network.decode if workload == "vae" else network
        if self.kind == "openvino":
            return self._to_openvino(network, call, arguments)
        if self.kind == "compiled":
            compiled = torch.compile(call)
            return lambda: compiled(*arguments, return_dict=False)[0]
        return lambda: call(*arguments, return_dict=False)[0]

    def _to_openvino(self, network: Any, call: Callable, arguments: list) -> Callable[[], Any]:
        import openvino as ov

        class Positional(self.torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.network = network

            def forward(self, *given):
                return call(*given, return_dict=False)[0]

        shapes = [list(argument.shape) for argument in arguments]
        model = ov.convert_model(Positional(), example_input=tuple(arguments), input=shapes)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        settings["INFERENCE_NUM_THREADS"] = int(os.environ["OMP_NUM_THREADS"])
        request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
        arrays = [argument.numpy() for argument in arguments]
        return lambda: request.infer(arrays)

    def _prepare_image(self) -> Callable[[], Any]:
        import diffusers
        import transformers

        pipe = diffusers.StableDiffusionPipeline(
            vae=self._vae(),
            text_encoder=self._text(),
            tokenizer=transformers.CLIPTokenizer.from_pretrained(TOKENIZER),
            unet=self._unet(),
            scheduler=diffusers.DDIMScheduler(clip_sample=False, **SCHEDULER),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        if self.kind == "compiled":
            pipe.unet.compile()
            pipe.vae.decoder.compile()
            pipe.text_encoder.compile()
        return lambda: pipe("a red circle", num_inference_steps=STEPS, output_type="np")


class Ours:
    """ppdiffusers: eager, or compiled for a backend."""

    def __init__(self, backend: str, dtype: str):
        import paddle

        paddle.set_grad_enabled(False)
        self.paddle, self.backend, self.dtype = paddle, backend, dtype

    def prepare(self, workload: str) -> Callable[[], Any]:
        # only a second process of the same contender has the same weights and finds the programs in the cache
        self.paddle.seed(zlib.crc32(f"{self.backend} {self.dtype} {workload}".encode()))
        from ppdiffusers import AutoencoderKL, UNet2DConditionModel
        from ppdiffusers.transformers import CLIPTextConfig, CLIPTextModel

        makers = {
            "u": lambda: UNet2DConditionModel(**UNET),
            "v": lambda: AutoencoderKL(**VAE),
            "t": lambda: CLIPTextModel(CLIPTextConfig(**TEXT)),
        }
        if workload == "image":
            return self._prepare_image(makers)
        network = self._ready(makers[workload[0]]())
        arguments = [self.paddle.to_tensor(array) for array in inputs(workload)]
        call = network.decode if workload == "vae" else network
        return lambda: call(*arguments)

    def _ready(self, network: Any) -> Any:
        from ppdiffusers.runtime import compile

        network.eval()
        return network if self.backend == "eager" else compile(network, self.dtype, self.backend)

    def _prepare_image(self, makers: dict[str, Callable]) -> Callable[[], Any]:
        from ppdiffusers import DDIMScheduler, StableDiffusionPipeline
        from ppdiffusers.transformers import CLIPTokenizer

        pipe = StableDiffusionPipeline(
            vae=makers["v"](),
            text_encoder=makers["t"](),
            tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER),
            unet=makers["u"](),
            scheduler=DDIMScheduler(clip_sample=False, **SCHEDULER),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        for name in ("vae", "text_encoder", "unet"):
            getattr(pipe, name).eval()
        pipe.set_progress_bar_config(disable=True)
        if self.backend == "eager":
            pipe.compile(mode="off")
        elif (self.backend, self.dtype) != ("openvino", "float32"):  # the defaults of "auto" mode
            pipe.compile(self.dtype, self.backend)
        return lambda: pipe("a red circle", num_inference_steps=STEPS, output_type="np")


CONTENDERS: dict[str, Callable[[], Any]] = {
    "diffusers eager float32": lambda: Torch("eager", "float32"),
    "diffusers eager bfloat16": lambda: Torch("eager", "bfloat16"),
    "diffusers torch.compile float32": lambda: Torch("compiled", "float32"),
    "OpenVINO from the torch model float32": lambda: Torch("openvino", "float32"),
    "ppdiffusers eager float32": lambda: Ours("eager", "float32"),
    "ppdiffusers openvino float32": lambda: Ours("openvino", "float32"),
    SECOND: lambda: Ours("openvino", "float32"),
    "ppdiffusers openvino bfloat16": lambda: Ours("openvino", "bfloat16"),
    "ppdiffusers onednn float32": lambda: Ours("onednn", "float32"),
    "ppdiffusers onednn bfloat16": lambda: Ours("onednn", "bfloat16"),
}


def memory() -> dict[str, int]:
    """Return the peak of resident memory since its last reset, and the private memory, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"peak": int(lines["VmHWM"].split()[0]) // 1024, "private": int(lines["RssAnon"].split()[0]) // 1024}


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(name: str) -> None:
    responses = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is not a response
    contender, run = None, None
    for line in sys.stdin:
        request = json.loads(line)
        response: dict[str, Any] = {}
        try:
            if request["do"] == "prepare":
                run = None
                gc.collect()
                contender = contender or CONTENDERS[name]()
                Path("/proc/self/clear_refs").write_text("5")
                start = time.perf_counter()
                run = contender.prepare(request["workload"])
                response = {"ready": run is not None, "setup": time.perf_counter() - start}
                if run is not None:
                    response["first"] = _seconds(run)
                    for _ in range(request["warm_up"] - 1):
                        run()
            else:
                response = {"seconds": _seconds(run), **memory()}
        except (RuntimeError, ValueError, TypeError, ImportError, MemoryError) as error:
            response = {"ready": False, "error": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"}
        responses.write(json.dumps(response) + "\n")
        responses.flush()


if __name__ == "__main__":
    main(sys.argv[1])
