"""Freed memory is reused or released: measured by the system's counts of page faults and resident memory."""

import pytest

from ppdiffusers.runtime import memory
from tests.support.interpreter import run

BLOCK_MB, TIMES = 64, 50
PAGES = BLOCK_MB * 2**20 // 4096

FAULTS = f"""
import ctypes, resource
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # pages of 4 KB only, however the system is set
import ppdiffusers, paddle
x = paddle.ones([{BLOCK_MB}, 2**18])  # a row is 1 MB
x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TIMES}):
    x + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

RESIDENT = f"""
import numpy, ppdiffusers
from ppdiffusers.runtime.memory import free_memory_released
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20
blocks = [numpy.ones(2**20) for _ in range({BLOCK_MB})]  # 8 MB each
last = numpy.ones(2**20)  # the end of the heap is in use
full = resident()
del blocks
kept = resident()
with free_memory_released():
    during = resident()
    numpy.ones(2**24)
    numpy.ones(2**24)
print(full - kept, full - during, resident() - during)
"""

SCRATCH = """
import paddle, ppdiffusers
from ppdiffusers.runtime import compile
def memory(name):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines[name].split()[0]) // 1024
class Wide(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.back = paddle.nn.Conv2D(1, 64, 3, padding=1), paddle.nn.Conv2D(64, 1, 3, padding=1)
    def forward(self, x):
        return self.back(self.conv(x))  # 256 MB in between
paddle.set_grad_enabled(False)
network, x = compile(Wide().eval(), backend="openvino"), paddle.ones([1, 1, 1024, 1024])
network(x)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
network(x)
print(memory("VmHWM") - before, memory("VmRSS") - before)
"""


def test_results_reuse_freed_memory():
    (kept,) = run(FAULTS)
    (usual,) = run(FAULTS, MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert int(usual) > PAGES * TIMES * 0.9, "the variables of the C library are respected"
    assert int(kept) < int(usual) / 3, "pages are reused, except for those of a few blocks at the start"


def test_free_memory_is_released_around_large_allocations():
    kept, during, after = (int(text) for text in run(RESIDENT))
    assert kept < BLOCK_MB, "freed memory is kept at first"
    assert during > BLOCK_MB * 8 * 0.9
    assert after < BLOCK_MB, "memory that was allocated in the block is not kept"


def test_openvino_releases_intermediate_results_after_a_call(tmp_path):
    pytest.importorskip("openvino")
    most, after = (int(text) for text in run(SCRATCH, PPDIFFUSERS_CACHE=str(tmp_path)))
    assert most > 200, "the network of this test needs too little memory"
    assert after < 50


def test_an_older_c_library_gets_its_maximum(monkeypatch):
    """Older versions reject thresholds above 32 MB, and would then keep their default of 128 KB."""
    taken = {}

    class Older:
        @staticmethod
        def mallopt(what: int, value: int) -> int:
            if what == memory._M_MMAP_THRESHOLD and value > 2**25:
                return 0
            taken[what] = value
            return 1

    monkeypatch.setattr(memory, "_glibc", lambda: Older)
    memory.keep_freed_memory()
    assert taken[memory._M_MMAP_THRESHOLD] == 2**25
    assert taken[memory._M_TRIM_THRESHOLD] > 2**30
