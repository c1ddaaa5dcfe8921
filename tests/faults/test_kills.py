"""Saves that are killed at every write, and saves to a full disk: the old or the new content can be loaded."""

import os
import shutil
from pathlib import Path

import paddle
import pytest

from ppdiffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from ppdiffusers.core import saving
from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import SourceError, UnsafeFileError
from ppdiffusers.core.files import replace_file, replace_folder, restore_folder
from ppdiffusers.core.saving import complete_save, save_together
from ppdiffusers.transformers import CLIPTokenizer
from tests.faults.support import fails_with_full_disk, run_killed, tree
from tests.io.toy import Toy

FORMS = [
    {},
    {"max_shard_size": 220},
    {"safe_serialization": False},
    {"safe_serialization": False, "max_shard_size": 300},
    {"to_diffusers": True},
]


class Marked(Toy):
    @register_to_config
    def __init__(self, width: int = 4, out: int = 6, marker: int = 0):
        Toy.__init__.__wrapped__(self, width, out)


def network(value: int) -> Marked:
    """Return a network whose configuration and all weights contain `value`; the shapes are the same."""
    made = Marked(marker=value)
    for parameter in made.parameters():
        parameter.set_value(paddle.full(parameter.shape, value, dtype="float32"))
    return made


def value_of(folder: Path) -> int:
    """Load a network; check that its configuration belongs to its weights."""
    loaded = Marked.from_pretrained(folder)
    assert all(bool((parameter == loaded.config.marker).all()) for parameter in loaded.parameters())
    return loaded.config.marker


def kill_everywhere(action, old: Path, place: Path, check) -> int:
    """Kill `action`, which writes to `place`, at each write; call `check` each time; return the number of kills."""
    operation = 0
    while True:
        operation += 1
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir()
        if old.exists():
            shutil.copytree(old, place)
        killed = run_killed(action, place.parent, operation)
        check(killed)
        if not killed:
            return operation - 1


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_killed_save_of_a_network(tmp_path, form):
    old, fresh, place = tmp_path / "old", tmp_path / "fresh", tmp_path / "work" / "net"
    before = {"max_shard_size": 150} if form == {} else {}
    network(1).save_pretrained(old, **before)
    network(3).save_pretrained(fresh, **form)
    new, seen = network(2), []

    def check(killed):
        seen.append(value_of(place))
        assert killed or seen[-1] == 2
        network(3).save_pretrained(place, **form)
        assert sorted(tree(place)) == sorted(tree(fresh)) and value_of(place) == 3
        assert os.listdir(place.parent) == ["net"]

    kills = kill_everywhere(lambda: new.save_pretrained(place, **form), old, place, check)
    assert kills > 10 and seen == sorted(seen) and set(seen) == {1, 2}  # old until one moment, then new


def test_killed_load_that_completes_a_save(tmp_path):
    old, place = tmp_path / "old", tmp_path / "work" / "net"
    network(1).save_pretrained(old, max_shard_size=150)

    def stop(committed):
        raise KeyboardInterrupt

    move, saving._move_into_place = saving._move_into_place, stop
    try:
        with pytest.raises(KeyboardInterrupt):
            network(2).save_pretrained(old)
    finally:
        saving._move_into_place = move
    assert kill_everywhere(lambda: Marked.from_pretrained(place), old, place, lambda killed: value_of(place) == 2) > 3
    assert sorted(tree(place)) == ["config.json", "model_state.safetensors"]


def tokenizer(folder: Path, words: list[str]) -> CLIPTokenizer:
    folder.mkdir()
    vocabulary = {token: index for index, token in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(str(vocabulary).replace("'", '"'))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(folder / "vocab.json", folder / "merges.txt")


def test_killed_save_of_a_tokenizer(tmp_path):
    one, two = (tokenizer(tmp_path / name, list(name)) for name in ("abc", "xyz"))
    one.save_pretrained(tmp_path / "old")
    two.save_pretrained(tmp_path / "new")
    place, whole = tmp_path / "work" / "tokenizer", [tree(tmp_path / "old"), tree(tmp_path / "new")]

    def check(killed):
        loaded = CLIPTokenizer.from_pretrained(place)
        assert loaded.get_vocab() in (one.get_vocab(), two.get_vocab())
        assert {k: v for k, v in tree(place).items() if ".ppdiffusers-save.part" not in k} in whole
        two.save_pretrained(place)
        assert tree(place) == whole[1]

    assert kill_everywhere(lambda: two.save_pretrained(place), tmp_path / "old", place, check) > 10


def test_killed_save_of_a_scheduler(tmp_path):
    DDPMScheduler(num_train_timesteps=10).save_pretrained(tmp_path / "old")
    new, place = DDPMScheduler(num_train_timesteps=20), tmp_path / "work" / "scheduler"

    def check(killed):
        assert DDPMScheduler.from_pretrained(place).config.num_train_timesteps in (10, 20)
        new.save_pretrained(place)
        assert sorted(tree(place)) == ["scheduler_config.json"]

    assert kill_everywhere(lambda: new.save_pretrained(place), tmp_path / "old", place, check) > 3


def pipeline(value: float, scheduler: type) -> DDPMPipeline:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(4,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=2,
        layers_per_block=1,
        add_attention=False,
    )
    unet.conv_in.bias.set_value(paddle.full([4], value))
    return DDPMPipeline(unet, scheduler())


def test_killed_save_of_a_pipeline(tmp_path):
    one, two = pipeline(1, DDPMScheduler), pipeline(2, DDIMScheduler)
    one.save_pretrained(tmp_path / "old")
    (tmp_path / "old" / "README.md").write_text("notes")
    two.save_pretrained(tmp_path / "new")
    (tmp_path / "new" / "README.md").write_text("notes")
    place, whole = tmp_path / "work" / "pipe", [tree(tmp_path / "old"), tree(tmp_path / "new")]
    seen = []

    def check(killed):
        complete_save(place if len(seen) % 2 else place / "unet")  # a load of one component repairs the whole
        kept = {name: content for name, content in tree(place).items() if ".ppdiffusers-save.part" not in name}
        seen.append(whole.index(kept))
        if len(seen) % 8 == 0:
            loaded = DDPMPipeline.from_pretrained(place)
            assert float(loaded.unet.conv_in.bias[0]) == seen[-1] + 1
            assert isinstance(loaded.scheduler, DDIMScheduler) == bool(seen[-1])
            two.save_pretrained(place)
            assert tree(place) == whole[1]

    assert kill_everywhere(lambda: two.save_pretrained(place), tmp_path / "old", place, check) > 25
    assert seen == sorted(seen) and set(seen) == {0, 1}


def test_killed_replacement_of_a_folder(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("old")
    place, seen = tmp_path / "work" / "model", []

    def write():
        with replace_folder(place) as staging:
            (staging / "b").write_text("new")

    def check(killed):
        restore_folder(place / "unet")
        seen.append(tree(place))
        write()
        assert tree(place) == {"b": b"new"} and os.listdir(place.parent) == ["model"]

    assert kill_everywhere(write, tmp_path / "old", place, check) > 5
    assert all(content in ({"a": b"old"}, {"b": b"new"}) for content in seen)


def test_killed_replacement_of_a_file(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("old")
    place = tmp_path / "work" / "folder"

    def write():
        with replace_file(place / "a") as staging:
            staging.write_text("new")

    def check(killed):
        assert (place / "a").read_text() in ("old", "new")
        write()
        assert tree(place) == {"a": b"new"}

    assert kill_everywhere(write, tmp_path / "old", place, check) > 2


def test_files_of_a_running_process_are_not_leftovers(tmp_path):
    with replace_file(tmp_path / "a") as one:
        one.write_text("one")
        with replace_file(tmp_path / "a") as two:
            two.write_text("two")
        assert one.read_text() == "one"
    assert tree(tmp_path) == {"a": b"one"}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_full_disk(tmp_path, form):
    network(1).save_pretrained(tmp_path, **form)
    before = tree(tmp_path)
    new, failures = network(2), 0
    for size in (50, 300, 500, 700):
        if fails_with_full_disk(lambda size=size: new.save_pretrained(tmp_path, **form), size):
            assert tree(tmp_path) == before and value_of(tmp_path) == 1
            failures += 1
    assert failures >= 2


# -- saves that cannot be completed -----------------------------------------------------------------------------------


def interrupted(folder: Path, monkeypatch) -> None:
    """Leave a save that was killed after it was committed."""
    network(1).save_pretrained(folder)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "_move_into_place", lambda committed: None)
        network(2).save_pretrained(folder)


def test_a_read_only_folder_says_so(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch)
    monkeypatch.setattr(saving, "_READ_ONLY_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(saving.os, "replace", read_only)
        with pytest.raises(SourceError, match=r"interrupted(.|\n)*Read-only(.|\n)*copy it"):
            Marked.from_pretrained(tmp_path)
    assert value_of(tmp_path) == 2


def read_only(source, target):
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("name", ["../outside", "link/outside", "/etc/hostname"])
def test_a_made_up_save_cannot_touch_other_folders(tmp_path, name):
    model = tmp_path / "model"
    (tmp_path / "outside").write_text("mine")
    network(1).save_pretrained(model)
    (model / "link").symlink_to(tmp_path)
    (model / ".ppdiffusers-save").mkdir()
    (model / ".ppdiffusers-save" / ".stale.json").write_text(f'["{name}"]')
    with pytest.raises(UnsafeFileError, match="outside"):
        Marked.from_pretrained(model)
    (model / ".ppdiffusers-save" / ".stale.json").write_text("[1")
    with pytest.raises(UnsafeFileError, match="save"):
        Marked.from_pretrained(model)
    (model / ".ppdiffusers-save" / ".stale.json").unlink()
    (model / ".ppdiffusers-save" / "link").mkdir()
    (model / ".ppdiffusers-save" / "link" / "outside").write_text("theirs")
    with pytest.raises(UnsafeFileError, match="outside"):
        Marked.from_pretrained(model)
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_file_that_cannot_be_replaced_is_found_before_anything_changes(tmp_path):
    network(1).save_pretrained(tmp_path)
    before = tree(tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError), save_together(tmp_path) as save:
        (save.folder / "config.json").write_text("new")
        (save.folder / "taken").write_text("new")
    assert tree(tmp_path) == before
