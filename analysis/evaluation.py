"""The page of one evaluation: `python -m analysis.evaluation DIR`, a folder that `agents.evaluate` has written.

The page stands in the folder as index.html, with the films of the folder and the table of its tasks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, exit_status
from records.decode import DamagedRecordError, read_object
from records.files import write_atomic
from records.layout import ExitCode

if TYPE_CHECKING:
    from analysis.page import Cell, Film

RECORD = "evaluation.json"
PAGE = "index.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page of the folder that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Writes the page of the folder that the arguments name.

    Raises:
      ConfigError: the folder holds no evaluation.
    """
    parser = Parser(prog="python -m analysis.evaluation", description="Write the page of an evaluation (index.html).")
    parser.add_argument("folder", type=Path, metavar="DIR", help="what python -m agents.evaluate has written")
    folder: Path = parser.parse_args(arguments).folder
    try:
        record = read_object(folder / RECORD)
        if record is None:
            raise ConfigError(f"{folder}: no evaluation here ({RECORD} is missing)")
        os.environ["MPLBACKEND"] = "agg"  # matplotlib, which is loaded on the way, refuses a back end that is none
        text = render(record, folder)
    except (DamagedRecordError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / RECORD}: is no record of an evaluation ({error})") from None
    write_atomic(folder / PAGE, text)
    print(folder / PAGE)
    return ExitCode.DONE


def render(record: Mapping[str, Any], folder: Path) -> str:
    """Return the page's HTML.

    Args:
      record: what evaluation.json holds.
      folder: the page's folder, whose films are shown.
    """
    from analysis.page import Section, number, page_of

    name = Path(record["run"]).name
    sections = [Section("films", "Films", films=found)] if (found := films(record, folder)) else []
    sections.append(Section("tasks", "Every task", table="task-table", rows=[row(one) for one in record["tasks"]]))
    facts = {
        "mean normalised score": number(record["score"]),
        "run": record["run"],
        "environment steps": f"{record['env_steps']:,} per task",
        "episodes": f"{record['episodes']} of each task, deterministic actions",
        "seed": str(record["seed"]),
        "longest episode": f"{record['max_episode_steps'] or 'by the tasks'}",
        "success": "of an episode: at any of its steps",
        "spread": "the standard deviation over episodes",
        "commit": record["git_commit"] or "unknown",
    }
    sections.append(Section("about", "About", facts=facts))
    return page_of(f"Evaluation of {name} at {record['env_steps']:,} steps", sections)


def films(record: Mapping[str, Any], folder: Path) -> list[Film]:
    """Return the films that the folder has, in the order of the tasks."""
    from analysis.page import Film

    found = []
    for one in record["tasks"]:
        path = Path(layout.VIDEOS, f"step-{record['env_steps']:09d}", f"{one['task'].replace('/', '-')}.mp4")
        if (folder / path).exists():
            judged = one[one["score_metric"]]["mean"]
            found.append(Film(one["task"], path.as_posix(), f"mean {one['score_metric']} {judged:,.2f}"))
    return found


def row(one: Mapping[str, Any]) -> dict[str, Cell]:
    """Return a task's row of the table."""
    from analysis.page import number_cell, text_cell

    score = one["score"] or {"mean": None, "std": None}
    return {
        "task": text_cell(one["task"]),
        "judged by": text_cell(one["score_metric"]),
        "episodes": number_cell(one["episodes"]),
        "return": number_cell(one["return"]["mean"], 1),
        "± return": number_cell(one["return"]["std"], 1),
        "lowest": number_cell(one["return"]["min"], 1),
        "highest": number_cell(one["return"]["max"], 1),
        "score": number_cell(score["mean"]),
        "± score": number_cell(score["std"]),
        "success": number_cell(one["success"]["mean"], 2),
        "length": number_cell(one["length"]["mean"], 1),
        "± length": number_cell(one["length"]["std"], 1),
        "diverged": number_cell(one["diverged"]),
    }


if __name__ == "__main__":
    sys.exit(main())
