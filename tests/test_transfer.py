"""A run that begins with another's networks on the same tasks is at first the source, to the bit; also in a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from records import layout
from tests.commands import TINY, TINY_DISCRETE, rows, run

pytestmark = pytest.mark.slow

SHORT = ["train.env_steps=300", "eval.every_steps=150", "tracking=off", "launcher=local"]


@pytest.mark.parametrize("settings", [TINY, TINY_DISCRETE], ids=["continuous", "discrete"])
def test_onto_the_same_tasks_the_first_evaluation_is_the_sources_last_bit_by_bit(tmp_path: Path, settings: list[str]):
    first = run(tmp_path, *settings, *SHORT)
    assert first.returncode == 0, first.stderr
    (source,) = (path.parent for path in tmp_path.glob("runs/*/*/config.json"))
    refused = run(tmp_path, "-m", *settings, *SHORT, f"init_from={source.relative_to(tmp_path)}", "seed=0,1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the source has trained on all 2 tasks" in refused.stderr
    named = f"init_from=null,{source.relative_to(tmp_path)}"
    swept = run(tmp_path, "-m", *settings, *SHORT, named, "init.known_tasks=allow")
    assert swept.returncode == 0, swept.stderr
    (target,) = (path.parent for path in tmp_path.glob("runs/*/*/config.json") if path.parent != source)

    def evaluation(run_dir: Path, env_steps: int) -> list[tuple]:
        found = [row for row in rows(run_dir / layout.METRICS) if row["env_steps"] == env_steps]
        return [(row["name"], row["task"], row["value"]) for row in found if row["name"].startswith("eval/")]

    assert evaluation(target, 0) == evaluation(source, 300) != []
    assert evaluation(target, 0) != evaluation(source, 0)
