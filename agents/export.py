"""The command `python -m agents.export RUN --out DIR`: a saved policy as a folder that needs NumPy alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents import policy as runner
from records.command_line import Parser, add_point, add_runs, exit_status
from records.files import write_json
from records.find import find_point
from records.layout import ExitCode
from records.results import check_results, new_results

if TYPE_CHECKING:
    from agents.portable import Differences
    from agents.saved import SavedPolicy

README = "README.md"
TOLERANCE = 1e-6
"""What the exported policy and the original, both in float64, may differ by."""

DESCRIPTION = """\
Write the acting policy of a run's checkpoint as one folder: policy.py, which needs NumPy alone, the numbers of its
network (arrays.npz), and a card (card.json, README.md) with tasks, scores, origin and licence. The run is only read."""

EPILOG = """\
examples:
  python -m agents.export runs/quickstart/brc-w64-s0-1a2b3c4d --out policy/
  python -m agents.export 1a2b3c4d@50000 --out policy/
  python policy/policy.py                                   # what the folder holds"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports what a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Exports the checkpoint that the arguments name, after a comparison with the policy in JAX.

    Raises:
      ConfigError: something in the command line is wrong, or the policy cannot be exported.
      OSError: the folder cannot be written.
    """
    parser = Parser(prog="python -m agents.export", description=DESCRIPTION, epilog=EPILOG)
    add_point(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    add_runs(parser)
    parsed = parser.parse_args(arguments)
    out: Path = parsed.out
    run_dir, env_steps = find_point(parsed.runs, parsed.run)
    check_results(out, runner.CARD)

    from agents.saved import saved_policy

    policy = saved_policy(run_dir, env_steps)
    try:
        with new_results(out) as folder:
            found = write_policy(policy, folder)
    except FloatingPointError as error:
        print(f"error: {run_dir.name}: {error}", file=sys.stderr)
        return ExitCode.FAILED
    print(
        f"{out}: {len(policy.specs)} tasks, at most {found.exported:.1e} from JAX in float64 "
        f"(float32, as runs compute: {found.float32:.1e}); see {out / README}"
    )
    return ExitCode.DONE


def write_policy(policy: SavedPolicy, folder: Path) -> Differences:
    """Write all files of an exported policy; return how far its actions or values, and a run's, are from exact ones.

    Raises:
      ConfigError: the policy is of a kind that cannot be exported.
      FloatingPointError: the exported policy and the original differ.
    """
    from agents.portable import card, differences, portable, readme

    network, arrays = portable(policy)
    np.savez(folder / runner.ARRAYS, allow_pickle=False, **arrays)
    shutil.copyfile(runner.__file__, folder / "policy.py")
    about = card(policy, network)
    write_json(folder / runner.CARD, about)
    found = differences(policy, folder)
    about |= {"largest_difference": found.exported, "float32_difference": found.float32}
    if not found.exported < TOLERANCE:
        raise FloatingPointError(f"the policies of NumPy and JAX differ by {found.exported:.1e}; nothing was written")
    write_json(folder / runner.CARD, about)
    (folder / README).write_text(readme(about))
    return found


if __name__ == "__main__":
    sys.exit(main())
