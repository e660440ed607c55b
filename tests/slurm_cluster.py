"""A single-node SLURM on loopback, started and stopped by the tests that need one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.commands import free_port

ANSWER_S = 60
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmctldParameters=preempt_send_user_signal
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
KillWait=10
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 State=UP
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
"""
GPUS = "NodeName={host} Name=gpu Type=fake File={folder}/gpu[0-1]\n"


def missing() -> str | None:
    """Why there can be no cluster here, if so."""
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    absent = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge)" if absent else None


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster that lives inside the block; yields the environment in which its commands find it."""
    for name in ("spool", "state"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, port=free_port(), node_port=free_port())
    configuration.write_text(text)
    (folder / "gres.conf").write_text(GPUS.format(folder=folder, host=host))
    for number in (0, 1):
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # what /dev/null is
    environment = {"SLURM_CONF": str(configuration)}
    start_munge()
    daemons = [
        subprocess.Popen(
            [name, "-D"], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        for name in ("slurmctld", "slurmd")
    ]
    try:
        wait_until_idle(environment)
        yield environment
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            call("scancel", "--user", "root", environment=environment)
            for _ in range(60):  # jobs that end later would wait for a controller that is gone
                if not call("squeue", "-h", environment=environment).stdout.strip():
                    break
                time.sleep(0.5)
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:  # slurmd waits for jobs that are being cleaned up
                daemon.kill()
                daemon.wait()


def start_munge() -> None:
    if call("munge", "-n").returncode == 0:
        return
    command("install", "-d", "-o", "munge", "-g", "munge", "/run/munge")
    # Its output goes nowhere: a daemon would hold a pipe open.
    subprocess.run(["su", "munge", "-s", "/bin/sh", "-c", "munged >/dev/null 2>&1"], check=True, timeout=ANSWER_S)


def wait_until_idle(environment: dict[str, str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        result = call("sinfo", "-h", "-o", "%T", environment=environment)
        if result.stdout.strip() == "idle":
            return
        assert time.monotonic() < deadline, f"SLURM did not come up: {result.stdout} {result.stderr}"
        time.sleep(0.5)


def call(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One of SLURM's commands."""
    return subprocess.run(
        arguments, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=ANSWER_S
    )


def command(*arguments: str) -> str:
    """What one of SLURM's commands prints, which must succeed."""
    result = call(*arguments)
    result.check_returncode()
    return result.stdout
