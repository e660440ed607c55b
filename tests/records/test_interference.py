"""Measurements of interference come back as they were written, and damaged ones are refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from records.decode import DamagedRecordError
from records.interference import Interference, measurements, place, read_interference, write_interference

GOOD = Interference(
    env_steps=10_000,
    update_steps=20_000,
    tasks=("dmc/a", "dmc/b", "dmc/c"),
    cosine=np.array([[1, -0.5, 0.25], [-0.5, 1, -0.125], [0.25, -0.125, 1]]),
    grad_norm=np.ones(3),
    loss=np.ones(3),
    td_error=np.array([1.0, 2, 3]),
    td_spread=np.ones(3),
)


def test_a_measurement_comes_back_and_knows_its_conflict_rate(tmp_path: Path):
    write_interference(tmp_path, GOOD)
    write_interference(tmp_path, dataclasses.replace(GOOD, env_steps=500))
    first, second = measurements(tmp_path)
    assert (first.env_steps, second.env_steps, second.update_steps) == (500, 10_000, 20_000)
    assert second.tasks == GOOD.tasks
    np.testing.assert_array_equal(second.cosine, GOOD.cosine)
    assert second.conflict_rate == pytest.approx(2 / 3)
    assert list(measurements(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": ("dmc/a", "dmc/b")}, "other lengths than its 2 tasks"),
        ({"td_error": np.ones(2)}, "other lengths"),
        ({"grad_norm": np.array([1, np.nan, 1])}, "no finite number"),
        ({"cosine": 2 * np.eye(3)}, "cosines above 1"),
        ({"cosine": np.triu(np.ones((3, 3)))}, "others for a pair"),
    ],
)
def test_a_measurement_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict, said: str):
    write_interference(tmp_path, dataclasses.replace(GOOD, **changes))
    with pytest.raises(DamagedRecordError, match=said):
        read_interference(place(tmp_path, 10_000))


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path):
    write_interference(tmp_path, GOOD)
    path = place(tmp_path, 10_000)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DamagedRecordError, match=r"step-000010000\.npz: cannot be read"):
        read_interference(path)
