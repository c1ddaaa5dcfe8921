"""Outputs are dataclasses, tuples and dictionaries."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class Output(BaseOutput):
    sample: Any
    extra: Any = None


def test_attributes_keys_and_positions():
    output = Output(sample=[1, 2], extra="e")
    assert output.sample == output["sample"] == output[0] == [1, 2]
    assert output[1:] == ("e",) and list(output) == ["sample", "extra"]
    assert output.to_tuple() == ([1, 2], "e")


def test_none_is_only_an_attribute():
    output = Output(sample=1)
    assert output.extra is None and "extra" not in output and output.to_tuple() == (1,)


def test_changing_a_field_changes_all_views():
    output = Output(sample=1, extra=2)
    output.sample = 3
    output["extra"] = 4
    assert output.to_tuple() == (3, 4) and output.extra == 4


def test_fields_cannot_be_deleted():
    with pytest.raises(TypeError, match="cannot be deleted"):
        Output(sample=1).pop("sample")


def test_copies_and_pickles():
    output = Output(sample=[1], extra=None)
    for again in (pickle.loads(pickle.dumps(output)), copy.deepcopy(output)):
        assert again == output and again.sample == [1] and again.extra is None
