"""`make demo` of the README, in a copy of the repository with a new virtual environment."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]


def copy_of_repository(target: Path) -> Path:
    """Copy the tracked files in their current state."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, (n.decode() for n in names)):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def test_make_demo_in_a_new_clone(tmp_path):
    clone = copy_of_repository(tmp_path / "clone")
    done = subprocess.run(["make", "demo"], cwd=clone, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    images = sorted((clone / "outputs" / "demo").glob("*.png"))
    assert len(images) >= 2
    for image in images:
        assert str(image) in done.stdout, "the demo reports where its images are"
        assert np.asarray(Image.open(image)).std() > 10, f"{image.name} is uniform"
    packages = subprocess.run(
        [clone / ".venv-demo/bin/python", "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "paddlepaddle" in packages
    assert not {"torch", "diffusers", "transformers", "paddlenlp"} & {line.split()[0] for line in packages.splitlines()}
