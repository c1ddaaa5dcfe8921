"""The README's `make demo`, in a copy of the repository and a virtual environment that did not exist before."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]


def copy_of_repository(target: Path) -> Path:
    """What a clone would hold: the files that git tracks, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, (n.decode() for n in names)):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def test_make_demo_on_a_fresh_machine(tmp_path):
    clone = copy_of_repository(tmp_path / "clone")
    done = subprocess.run(["make", "demo"], cwd=clone, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pictures = sorted((clone / "outputs" / "demo").glob("*.png"))
    assert len(pictures) >= 2
    for picture in pictures:
        assert str(picture) in done.stdout, "the demo says where its pictures are"
        assert np.asarray(Image.open(picture)).std() > 10, f"{picture.name} shows nothing"
    packages = subprocess.run(
        [clone / ".venv-demo/bin/python", "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "paddlepaddle" in packages
    assert not {"torch", "diffusers", "transformers", "paddlenlp"} & {line.split()[0] for line in packages.splitlines()}
