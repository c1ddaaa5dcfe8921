"""The number of threads: all physical cores by default, the user's choice otherwise."""

from pathlib import Path

import pytest

from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime import set_num_threads
from ppdiffusers.runtime.threads import physical_cores
from tests.support.interpreter import run

REPORT = """
import os
{before}
import ppdiffusers
{between}
import paddle
print(ppdiffusers.get_num_threads(), os.environ["OMP_NUM_THREADS"])
"""


def test_all_physical_cores_are_used_by_default():
    count = str(physical_cores())
    assert run(REPORT.format(before="", between=""), OMP_NUM_THREADS=None) == [count, count]


def test_the_variable_is_respected():
    assert run(REPORT.format(before="", between=""), OMP_NUM_THREADS="3") == ["3", "3"]
    assert run(REPORT.format(before="", between=""), OMP_NUM_THREADS="2,1") == ["2", "2"]


def test_set_num_threads_takes_precedence_before_and_after_importing_paddle():
    assert run(REPORT.format(before="", between="ppdiffusers.set_num_threads(2)"), OMP_NUM_THREADS="3") == ["2", "2"]
    code = REPORT.format(before="import paddle", between="ppdiffusers.set_num_threads(5)")
    assert run(code, OMP_NUM_THREADS=None) == ["5", "5"]


def test_mkl_uses_avx2_on_amd_unless_the_variable_is_set():
    """On other processors the variable is unchanged."""
    code = "import ppdiffusers, os; print(os.environ.get('MKL_DEBUG_CPU_TYPE'))"
    facts = Path("/proc/cpuinfo").read_text().split()
    expected = "5" if {"AuthenticAMD", "avx2"} <= set(facts) else "None"
    assert run(code, MKL_DEBUG_CPU_TYPE=None) == [expected]
    assert run(f"import paddle; {code}", MKL_DEBUG_CPU_TYPE=None) == [expected]
    assert run(code, MKL_DEBUG_CPU_TYPE="4") == ["4"]


def test_work_is_done_by_the_chosen_number_of_threads():
    """A matrix product in Paddle's own kernels uses one thread for each core, up to four; MKL adds no more."""
    code = """
import os
import ppdiffusers
ppdiffusers.set_num_threads({count})
import paddle
x = paddle.ones([1200, 1200])
(x @ x).numpy()
print(len(os.listdir("/proc/self/task")))
"""
    most = min(4, physical_cores())
    (one,), (many,) = (run(code.format(count=count), OMP_NUM_THREADS=None) for count in (1, most))
    assert int(many) - int(one) >= most - 1


def test_torch_in_the_same_process_keeps_its_threads():
    """Neither import order changes the other library's threads."""
    code = """
import {first}
import {second}
import paddle, torch
print(torch.get_num_threads(), ppdiffusers.get_num_threads())
"""
    count = str(physical_cores())
    for first, second in (("torch", "ppdiffusers"), ("ppdiffusers", "torch")):
        found = run(code.format(first=first, second=second), OMP_NUM_THREADS=None, MKL_NUM_THREADS=None)
        assert found == [count, count], (first, second)


@pytest.mark.parametrize("count", [0, -1, 2.0, "4", True, None])
def test_an_invalid_count_is_rejected(count):
    with pytest.raises(InputError, match="number of threads"):
        set_num_threads(count)
