"""Compiled networks in several threads give the results of one thread."""

import gc
import itertools
import os
import threading

import numpy as np
import paddle
import pytest

from ppdiffusers.runtime import compile, decompile, is_compiled
from ppdiffusers.runtime import compiling as compiling_module
from ppdiffusers.runtime.compiling import Program, compile_when_it_pays
from ppdiffusers.runtime.export import ExportedProgram, export_programs
from ppdiffusers.runtime.turns import network_turn
from ppdiffusers.runtime.worker import Worker
from tests.runtime.support import BACKENDS, program_cache, relative_distance, tiny_unet, unet_inputs
from tests.support.threads import in_threads

__all__ = ["program_cache"]

THREADS = 4


@pytest.fixture
def made(monkeypatch):
    """The programs that are compiled or loaded during the test."""
    made, original = [], Program.__init__

    def create(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Program, "__init__", create)
    return made


def calls_of(unet, inputs, times: int = 5):
    """Return a function that calls the network several times and returns the results."""

    @paddle.no_grad()
    def run():
        return [unet(*inputs).sample for _ in range(times)]

    return run


def assert_equal_to_eager(results: list, wanted: list) -> None:
    for found, reference in zip(results, wanted):
        assert not isinstance(found, BaseException), found
        assert all(relative_distance(one, reference) <= 1e-4 for one in found)


def different_inputs() -> list[tuple]:
    """Return inputs of one signature with different values."""
    sample, _, text = unet_inputs()
    return [(sample + n, 100 * n, text) for n in range(THREADS)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_network_in_several_threads_is_compiled_once(backend, program_cache, made):
    unet, inputs = tiny_unet(), different_inputs()
    with paddle.no_grad():
        wanted = [unet(*each).sample for each in inputs]
    compile(unet, backend=backend)
    for _ in range(3):  # cold, then warm in threads that reuse numbers of earlier ones
        assert_equal_to_eager(in_threads([calls_of(unet, each) for each in inputs]), wanted)
    assert len(made) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_separate_networks_in_threads(backend, program_cache):
    """Each thread compiles its network; later threads call networks that another thread has compiled."""
    plain, inputs = tiny_unet(), different_inputs()
    with paddle.no_grad():
        wanted = [plain(*each).sample for each in inputs]
    networks = [compile(tiny_unet(), backend=backend) for _ in range(THREADS)]
    for _ in range(3):
        pairs = zip(networks, inputs, strict=True)
        assert_equal_to_eager(in_threads([calls_of(unet, each) for unet, each in pairs]), wanted)
        networks, inputs, wanted = networks[1:] + networks[:1], inputs[2:] + inputs[:2], wanted[2:] + wanted[:2]


def test_signatures_that_alternate_between_threads(program_cache):
    plain, inputs = tiny_unet(), [unet_inputs(batch) for batch in (1, 2)]
    with paddle.no_grad():
        wanted = [plain(*each).sample for each in inputs]
    unet = compile(tiny_unet(), backend="openvino")
    assert_equal_to_eager(in_threads([calls_of(unet, each, times=3) for each in inputs]), wanted)


def test_automatic_mode_compiles_once(program_cache, made, monkeypatch):
    for name in ("_MIN_EAGER_SECONDS", "_COMPILE_SECONDS", "_COMPILE_SECONDS_PER_GB"):
        monkeypatch.setattr(compiling_module, name, 0.0)
    unet, inputs = tiny_unet(), different_inputs()
    with paddle.no_grad():
        wanted = [unet(*each).sample for each in inputs]

    def run(each):
        compile_when_it_pays(unet)
        return calls_of(unet, each)()

    assert_equal_to_eager(in_threads([lambda each=each: run(each) for each in inputs]), wanted)
    assert is_compiled(unet) and len(made) == 1


def test_networks_that_share_layers_take_turns(program_cache):
    """Tracing one of them replaces parameters of the other."""
    first, second = tiny_unet(), tiny_unet()
    second.mid_block, second.conv_in = first.mid_block, first.conv_in
    inputs = unet_inputs()
    with paddle.no_grad():
        wanted = [unet(*inputs).sample for unet in (first, second)]
    for unet in (first, second):
        compile(unet, backend="openvino")
    assert_equal_to_eager(in_threads([calls_of(unet, inputs, times=2) for unet in (first, second)]), wanted)


def test_compiling_and_undoing_it_during_calls(program_cache):
    unet, inputs = tiny_unet(), unet_inputs()
    with paddle.no_grad():
        wanted = unet(*inputs).sample

    def switch():
        for _ in range(2):
            compile(unet, backend="openvino")
            calls_of(unet, inputs, times=1)()
            decompile(unet)
        return []

    assert_equal_to_eager(in_threads([switch, *[calls_of(unet, inputs, times=8)] * 2]), [wanted] * 3)


def test_an_error_in_one_thread_does_not_block_the_others(program_cache):
    unet, inputs = tiny_unet(), unet_inputs()
    with paddle.no_grad():
        wanted = unet(*inputs).sample
    compile(unet, backend="onednn")
    wrong = (inputs[0], inputs[1], inputs[2][..., :5])  # embeddings of another width
    found = in_threads([calls_of(unet, wrong), calls_of(unet, inputs), calls_of(unet, wrong), calls_of(unet, inputs)])
    assert isinstance(found[0], ValueError) and isinstance(found[2], ValueError)
    assert_equal_to_eager(found[1::2], [wanted] * 2)


def test_an_exported_program_in_several_threads(tmp_path):
    unet, inputs = tiny_unet(), different_inputs()
    with paddle.no_grad():
        wanted = [unet(*each).sample for each in inputs]
    export_programs({"unet": unet}, lambda: unet(*inputs[0]), tmp_path / "programs")
    program = ExportedProgram(tmp_path / "programs" / "unet")

    def run(each):
        return [program(*each)["sample"] for _ in range(5)]

    for _ in range(2):
        assert_equal_to_eager(in_threads([lambda each=each: run(each) for each in inputs]), wanted)


# -- turns and the worker -------------------------------------------------------------------------------------------


def test_networks_without_common_layers_do_not_wait_for_each_other():
    with network_turn(tiny_unet()):
        (found,) = in_threads([lambda: calls_in_turn(tiny_unet())])
    assert found == "done"


def test_parts_and_networks_wait_for_each_other():
    """A part of two networks connects them, in any order."""
    parts = [paddle.nn.Linear(2, 2) for _ in range(3)]
    pairs = [paddle.nn.LayerList([a, b]) for a, b in itertools.permutations(parts, 2)]
    counter, inside = [0], [0]

    def work(network):
        for _ in range(200):
            with network_turn(network), network_turn(network[0]):
                inside[0] += 1
                counter[0] += inside[0]
                inside[0] -= 1

    assert in_threads([lambda pair=pair: work(pair) for pair in pairs]) == [None] * len(pairs)
    assert counter == [200 * len(pairs)]


def calls_in_turn(network) -> str:
    with network_turn(network):
        return "done"


def test_a_worker_returns_results_and_raises_errors():
    worker = Worker()
    assert worker.run(lambda: 1 + 1) == 2
    with pytest.raises(KeyError, match="missing"):
        worker.run(lambda: {}["missing"])
    threads = in_threads([lambda: worker.run(threading.get_ident)] * 3)
    assert len(set(threads)) == 1 and threads[0] != threading.get_ident()


def test_a_worker_keeps_nothing_alive():
    worker, freed = Worker(), []

    class Large:
        def __del__(self):
            freed.append(True)

    worker.run(Large)
    worker.run(int)  # after it the frame of the first task has ended
    gc.collect()
    assert freed == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork processes")
def test_a_program_runs_in_a_forked_process(program_cache):
    """The child has no worker thread: it starts its own."""
    unet = compile(tiny_unet(), backend="onednn")
    run = calls_of(unet, unet_inputs(), times=2)
    wanted = run()[1].numpy()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if np.array_equal(run()[1].numpy(), wanted) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
