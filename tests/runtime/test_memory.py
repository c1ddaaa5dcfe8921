"""Freed memory is used again, or given back: seen by the page faults and the resident memory that the system counts."""

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
from ppdiffusers.runtime.memory import memory_given_back
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20
blocks = [numpy.ones(2**20) for _ in range({BLOCK_MB})]  # 8 MB each
last = numpy.ones(2**20)  # what is at the end of the heap is in use
full = resident()
del blocks
kept = resident()
with memory_given_back():
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


def test_results_lie_where_others_were_freed():
    (kept,) = run(FAULTS)
    (usual,) = run(FAULTS, MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert int(usual) > PAGES * TIMES * 0.9, "whoever sets the variables of the C library is heard"
    assert int(kept) < int(usual) / 3, "the same pages again, but for those of a few more blocks at first"


def test_it_is_given_back_around_what_takes_much():
    kept, during, after = (int(text) for text in run(RESIDENT))
    assert kept < BLOCK_MB, "it was kept at first"
    assert during > BLOCK_MB * 8 * 0.9
    assert after < BLOCK_MB, "and nothing of what was taken in between is kept"


def test_openvino_gives_back_what_it_needed_for_a_call(tmp_path):
    pytest.importorskip("openvino")
    most, after = (int(text) for text in run(SCRATCH, PPDIFFUSERS_CACHE=str(tmp_path)))
    assert most > 200, "the test's network needs less than it was made for"
    assert after < 50


def test_an_older_c_library_gets_the_most_it_takes(monkeypatch):
    """Older ones refuse to keep blocks of more than 32 MB, and would then keep none of more than 128 KB."""
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
