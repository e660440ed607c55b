"""A job array, as submitit writes and submits it. Imported where one is written: submitit takes a while."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import CommandFunction, FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from sweeps.slurm.environment import clean


class JobArray(SlurmExecutor):
    """`jobs` jobs that execute one shell command.

    submitit's own way of running a job is not used: its worker ignores SIGTERM, takes an early preemption for a
    time-out, and pickles code where a command line and files do.

    Args:
      flags: sbatch's, with dashes; True for one without a value. submitit's own defaults are dropped.
      setup: shell lines before the command.
    """

    def __init__(self, folder: Path, jobs: int, parallel: int, flags: Mapping[str, Any], setup: Sequence[str]):
        super().__init__(folder)
        self.update_parameters(
            time=None,
            wckey=None,
            array_parallelism=parallel,
            setup=list(setup),
            use_srun=False,
            stderr_to_stdout=True,
            additional_parameters={name.replace("-", "_"): value for name, value in flags.items()},
        )
        self.parameters["map_count"] = jobs

    @classmethod
    def affinity(cls) -> int:
        """Available everywhere: a dry run shows the script where there is no SLURM."""
        return 1

    def script(self, command: str) -> str:
        """What `sbatch` is given."""
        return self._make_submission_file_text(command, "")

    def send(self, command: str, path: Path) -> str:
        """Submit, with the script at `path`; the array's id. Writes nothing after that, so the id cannot get lost.

        Raises:
          OSError: sbatch refuses, or says nothing that could be understood; its words.
        """
        path.write_text(self.script(command))
        try:
            command_line = self._make_submission_command(path)
            output = CommandFunction(command_line, verbose=False, env=clean(os.environ))()
            return self._get_job_id_from_submission_command(output)
        except (FailedJobError, FailedSubmissionError) as error:
            raise OSError(str(error)) from error
