"""Turns of calls in threads: which of them wait, and what each sees as the default device."""

import threading

import paddle
import pytest

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.turns import Turns

TIMEOUT = 10
SHORT = 0.1


@pytest.fixture
def device(monkeypatch):
    """Paddle's default device as a variable: [name]."""
    current = ["cpu"]
    monkeypatch.setattr(paddle.device, "get_device", lambda: current[0])
    monkeypatch.setattr(paddle.device, "set_device", lambda name: current.__setitem__(0, name))
    return current


class Task:
    """A thread that takes a turn and ends it when told to."""

    def __init__(self, turns: Turns, *arguments: object):
        self.began, self.ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(turns, arguments), daemon=True)
        self._thread.start()

    def _run(self, turns: Turns, arguments: tuple) -> None:
        with turns.take(*arguments):
            self.began.set()
            self.ending.wait(TIMEOUT)

    def end(self) -> None:
        assert self.began.wait(TIMEOUT)
        self.ending.set()
        self._thread.join(TIMEOUT)


def test_calls_with_one_object_in_common_run_one_after_the_other(device):
    turns, pipes, scheduler = Turns(), [object(), object()], object()
    first = Task(turns, "cpu", pipes[0], scheduler)
    assert first.began.wait(TIMEOUT)
    second, other = Task(turns, "cpu", pipes[1], scheduler), Task(turns, "cpu", object(), object())
    other.end()
    assert not second.began.wait(SHORT)
    first.end()
    second.end()


def test_equal_objects_are_not_the_same(device):
    turns = Turns()
    first, second = Task(turns, "cpu", [1]), Task(turns, "cpu", [1])
    second.end()
    first.end()


def test_calls_on_another_device_wait_and_the_default_device_is_restored(device):
    turns = Turns()
    first, second = Task(turns, "gpu:0", object()), Task(turns, "gpu:0", object())
    assert first.began.wait(TIMEOUT) and second.began.wait(TIMEOUT)
    other = Task(turns, "gpu:1", object())
    assert not other.began.wait(SHORT)
    third = Task(turns, "gpu:0", object())  # it came later than `other`
    assert not third.began.wait(SHORT)
    first.end()
    assert device == ["gpu:0"] and not other.began.wait(SHORT)
    second.end()
    assert other.began.wait(TIMEOUT) and device == ["gpu:1"]
    other.end()
    third.end()
    assert device == ["cpu"]


def test_a_call_within_a_call_does_not_wait_for_it(device):
    turns, scheduler = Turns(), object()
    with turns.take("gpu:0", scheduler):
        waiting = Task(turns, "gpu:0", scheduler)
        assert not waiting.began.wait(SHORT)
        with turns.take("cpu", scheduler):  # does not wait for `waiting` either
            assert device == ["cpu"]
        assert device == ["gpu:0"]
    waiting.end()
    assert device == ["cpu"]


def test_threads_that_would_wait_for_each_other_get_an_error(device):
    turns, objects, both = Turns(), [object(), object()], threading.Barrier(2)
    results: list[str] = []

    def run(mine: object, other: object) -> None:
        with turns.take("cpu", mine):
            both.wait(TIMEOUT)
            try:
                with turns.take("cpu", other):
                    results.append("ran")
            except InputError as error:
                results.append(str(error).partition(":")[0])

    threads = [threading.Thread(target=run, args=order, daemon=True) for order in (objects, objects[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(results) == ["Threads wait for each other", "ran"]
    with turns.take("cpu", *objects):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_ends_the_turn(error, device):
    turns, scheduler = Turns(), object()
    with pytest.raises(error), turns.take("gpu:0", scheduler):
        raise error
    assert device == ["cpu"]
    Task(turns, "gpu:0", scheduler).end()


def test_an_interrupted_wait_does_not_block_others(device, monkeypatch):
    turns, scheduler = Turns(), object()
    first = Task(turns, "cpu", scheduler)
    assert first.began.wait(TIMEOUT)

    def interrupt(timeout: object = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(turns._changed, "wait", interrupt)
        with turns.take("cpu", scheduler):
            raise AssertionError
    first.end()
    Task(turns, "cpu", scheduler).end()
