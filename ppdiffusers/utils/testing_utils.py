"""Helpers for tests, with the names of diffusers and ppdiffusers 0.29."""

from __future__ import annotations

import inspect
import io
import logging
import multiprocessing
import os
import random
import sys
import unittest
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.environment import is_on
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.extras import available
from ppdiffusers.utils.constants import HUGGINGFACE_CO_RESOLVE_ENDPOINT
from ppdiffusers.utils.export_utils import export_to_gif, export_to_video
from ppdiffusers.utils.loading_utils import download, load_image
from ppdiffusers.utils.pil_utils import make_image_grid

__all__ = [
    "CaptureLogger",
    "disable_full_determinism",
    "enable_full_determinism",
    "export_to_gif",
    "export_to_video",
    "floats_tensor",
    "get_examples_pipeline",
    "get_tests_dir",
    "global_rng",
    "image_grid",
    "load_hf_numpy",
    "load_image",
    "load_numpy",
    "nightly",
    "numpy_cosine_similarity_distance",
    "paddle_all_close",
    "paddle_device",
    "preprocess_image",
    "require_compel",
    "require_note_seq",
    "require_paddle",
    "require_paddle_gpu",
    "require_paddlesde",
    "require_python39_or_higher",
    "require_torch",
    "run_test_in_subprocess",
    "slow",
]


global_rng = random.Random()
paddle_device = "gpu" if paddle.is_compiled_with_cuda() else "cpu"

TestDecorator = Callable[[Any], Any]


# -- which tests run --------------------------------------------------------------------------------------------------


def slow(test_case: Any) -> Any:
    """Run a test only if the environment variable `RUN_SLOW` is set."""
    return unittest.skipUnless(is_on("RUN_SLOW"), "set RUN_SLOW=1 to run slow tests")(test_case)


def nightly(test_case: Any) -> Any:
    """Run a test only if the environment variable `RUN_NIGHTLY` is set."""
    return unittest.skipUnless(is_on("RUN_NIGHTLY"), "set RUN_NIGHTLY=1 to run nightly tests")(test_case)


def _require(package: str) -> TestDecorator:
    return unittest.skipUnless(available(package), f"requires the package {package}")


def require_paddle(test_case: Any) -> Any:
    """Run a test only with Paddle, which is always installed."""
    return test_case


def require_paddle_gpu(test_case: Any) -> Any:
    """Run a test only on a GPU."""
    return unittest.skipUnless(paddle_device == "gpu", "requires a GPU")(test_case)


def require_torch(test_case: Any) -> Any:
    """Run a test only if torch is installed."""
    return _require("torch")(test_case)


def require_compel(test_case: Any) -> Any:
    """Run a test only if compel is installed."""
    return _require("compel")(test_case)


def require_note_seq(test_case: Any) -> Any:
    """Run a test only if note_seq is installed."""
    return _require("note_seq")(test_case)


def require_paddlesde(test_case: Any) -> Any:
    """Run a test only if paddlesde is installed."""
    return _require("paddlesde")(test_case)


def require_python39_or_higher(test_case: Any) -> Any:
    """Run a test only on Python 3.9 or newer."""
    return unittest.skipUnless(sys.version_info >= (3, 9), "requires Python 3.9")(test_case)


# -- inputs -----------------------------------------------------------------------------------------------------------


def floats_tensor(
    shape: Sequence[int], scale: float = 1.0, rng: random.Random | None = None, name: str | None = None
) -> paddle.Tensor:
    """Create a float32 tensor of uniform random numbers in [0, scale); `name` is not used."""
    draw = (rng or global_rng).random
    values = [draw() * scale for _ in range(int(np.prod(shape)))]
    return paddle.to_tensor(values, dtype="float32").reshape(list(shape))


def load_numpy(arry: str | os.PathLike | np.ndarray, local_path: str | None = None) -> np.ndarray:
    """Load an array from a `.npy` file or an address; an array is returned as it is.

    Args:
        arry: path, address that starts with "http://" or "https://", or array.
        local_path: folder that contains the last part of `arry`, to load instead.
    """
    if isinstance(arry, np.ndarray):
        return arry
    if local_path is not None:
        return np.load(Path(local_path) / Path(arry).name)
    if isinstance(arry, str) and arry.startswith(("http://", "https://")):
        return np.load(io.BytesIO(download(arry)))
    if not os.path.isfile(arry):
        raise InputError("The array does not exist.", where=arry, expected="a file, or an http:// or https:// address")
    return np.load(arry)


def load_hf_numpy(path: str) -> np.ndarray:
    """Load an array of the data set "fusing/diffusers-testing" of the Hugging Face hub, or from an address."""
    if path.startswith(("http://", "https://")):
        return load_numpy(path)
    folder = f"{HUGGINGFACE_CO_RESOLVE_ENDPOINT.rstrip('/')}/datasets/fusing/diffusers-testing/resolve/main"
    return load_numpy(f"{folder}/{urllib.parse.quote(path)}")


def get_examples_pipeline(name: str) -> str:
    """Return the file of a community pipeline, examples/community/<name>.py next to this package; otherwise `name`."""
    file = Path(__file__).resolve().parents[2] / "examples" / "community" / f"{name}.py"
    return str(file) if file.is_file() else name


def preprocess_image(image: PIL.Image.Image, batch_size: int) -> paddle.Tensor:
    """Convert an image to a tensor [B, C, H, W] in [-1, 1], with height and width cut to multiples of 8."""
    width, height = (size - size % 8 for size in image.size)
    resized = image.resize((width, height), resample=PIL.Image.Resampling.LANCZOS)
    array = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) / 255.0  # [C, H, W]
    return paddle.to_tensor(np.stack([array] * batch_size)) * 2.0 - 1.0  # [B, C, H, W]


def image_grid(imgs: Sequence[PIL.Image.Image], rows: int | None = None, cols: int | None = None) -> PIL.Image.Image:
    """Arrange images in a grid; by default in one row."""
    if rows is None and cols is None:
        rows, cols = 1, len(imgs)
    return make_image_grid(imgs, rows, cols)


def get_tests_dir(append_path: str | None = None) -> str:
    """Return the folder "tests" that contains the calling file, with `append_path` appended."""
    caller = Path(inspect.stack()[1].filename).resolve()
    tests = next(folder for folder in caller.parents if folder.name == "tests")
    return str(tests / append_path if append_path else tests)


# -- comparisons ------------------------------------------------------------------------------------------------------


def paddle_all_close(a: paddle.Tensor, b: paddle.Tensor, *args: Any, **kwargs: Any) -> bool:
    """Compare tensors as `paddle.allclose` does; an AssertionError reports the largest difference."""
    if not paddle.allclose(a, b, *args, **kwargs):
        raise AssertionError(f"The largest absolute difference is {float((a - b).abs().max())}.")
    return True


def numpy_cosine_similarity_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute 1 - cosine similarity of two vectors."""
    return 1.0 - (np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))).mean()


# -- running ----------------------------------------------------------------------------------------------------------

_DETERMINISM = {
    "CUDA_LAUNCH_BLOCKING": ("1", "0"),
    "CUBLAS_WORKSPACE_CONFIG": (":16:8", ""),
    "FLAGS_cudnn_deterministic": ("True", "False"),
    "FLAGS_embedding_deterministic": ("True", "False"),
    "FLAGS_cpu_deterministic": ("True", "False"),
    "NVIDIA_TF32_OVERRIDE": ("0", "1"),
}


def enable_full_determinism() -> None:
    """Set the environment variables that make GPU kernels deterministic, for this process."""
    os.environ.update({name: on for name, (on, _) in _DETERMINISM.items()})


def disable_full_determinism() -> None:
    """Undo `enable_full_determinism`."""
    os.environ.update({name: off for name, (_, off) in _DETERMINISM.items()})


def run_test_in_subprocess(
    test_case: unittest.TestCase, target_func: Callable, inputs: dict | None = None, timeout: int | None = None
) -> None:
    """Call `target_func(input_queue, output_queue, timeout)` in a new process; it puts {"error": ...} into the output.

    Args:
        test_case: test that fails if the function reports an error or does not finish.
        target_func: function of a module that the new process can import.
        inputs: put into the input queue.
        timeout: seconds; by default the environment variable `PYTEST_TIMEOUT`, or 600.
    """
    timeout = int(os.environ.get("PYTEST_TIMEOUT", 600)) if timeout is None else timeout
    context = multiprocessing.get_context("spawn")
    input_queue, output_queue = context.Queue(1), context.JoinableQueue(1)
    input_queue.put(inputs, timeout=timeout)
    process = context.Process(target=target_func, args=(input_queue, output_queue, timeout))
    process.start()
    try:
        results = output_queue.get(timeout=timeout)
        output_queue.task_done()
    except Exception as error:  # whatever the queue raises, the process must not outlive the test
        process.terminate()
        test_case.fail(repr(error))
    process.join(timeout=timeout)
    if results["error"] is not None:
        test_case.fail(str(results["error"]))


class CaptureLogger:
    """Context manager that collects the messages of a logger in `out`."""

    def __init__(self, logger: logging.Logger):
        self.logger = logger
        self.out = ""
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)

    def __repr__(self) -> str:
        return f"captured: {self.out}\n"

    def __enter__(self) -> CaptureLogger:
        self.logger.addHandler(self._handler)
        return self

    def __exit__(self, *exc: object) -> None:
        self.logger.removeHandler(self._handler)
        self.out = self._stream.getvalue()
