"""An SSH server on loopback for the tests that need one, reached through a proxy that cuts connections when told to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.commands import free_port

HOST = "cluster"
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
SetEnv {variables}
"""
CLIENT = """\
Host {host}
HostName 127.0.0.1
Port {port}
User root
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
ProxyCommand {python} -S -E {proxy} %h %p {folder}/cuts.json
"""
PROXY = '''\
"""Passes bytes between ssh and a server, and dies after as many as the file of cuts says."""

import fcntl, json, os, random, socket, sys, threading

host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def change(step):
    with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        found = step(state)
        file.seek(0)
        file.truncate()
        json.dump(state, file)
    return found


def begin(state):
    state["connections"] += 1
    if not state["left"]:
        return None
    chance = random.Random(f"{state['seed']} {state['connections']}")
    return int(10 ** chance.uniform(2.5, state["log10_most"]))


def cut(state):
    if not state["left"]:
        return False
    state["left"] -= 1
    return True


room = change(begin)
server = socket.create_connection((host, port))
lock = threading.Lock()


def pump(read, write, end):
    global room
    while data := read(65536):
        with lock:
            if room is not None and len(data) >= room and change(cut):
                write(data[:room])
                os._exit(1)
            room = None if room is None else max(1, room - len(data))
        write(data)
    end()


def out(data):
    while data:
        data = data[os.write(1, data):]


sending = threading.Thread(
    target=pump, args=(lambda size: os.read(0, size), server.sendall, lambda: server.shutdown(socket.SHUT_WR))
)
sending.daemon = True
sending.start()
pump(server.recv, out, lambda: os._exit(0))
'''


def missing() -> str | None:
    """Why there can be no server here, if so."""
    if os.geteuid() != 0:
        return "an SSH server of one's own needs root"
    absent = [name for name in ("/usr/sbin/sshd", "ssh", "ssh-keygen", "rsync") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (Debian: openssh-server openssh-client rsync)" if absent else None


@dataclass(frozen=True)
class Server:
    """A server that runs, and the folder of a program `ssh` which knows the server as HOST."""

    folder: Path

    @property
    def programs(self) -> Path:
        return self.folder / "bin"

    def cut(self, times: int, seed: int, log10_most: float) -> None:
        """Have connections die, so many times in all, after numbers of bytes that are drawn at random."""
        state = {"left": times, "seed": seed, "connections": 0, "log10_most": log10_most}
        (self.folder / "cuts.json").write_text(json.dumps(state))

    def cuts_left(self) -> int:
        with (self.folder / "cuts.json").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return json.load(file)["left"]


@contextlib.contextmanager
def running(folder: Path, variables: dict[str, str]) -> Iterator[Server]:
    """A server that lives inside the block, whose sessions have some variables more."""
    server, port = Server(folder), free_port()
    server.programs.mkdir(parents=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    text = SERVER.format(
        port=port, folder=folder, variables=" ".join(f"{key}={value}" for key, value in variables.items())
    )
    if b"PerSourcePenalties" in Path("/usr/sbin/sshd").read_bytes():  # which would shut out who is cut too often
        text += "PerSourcePenalties no\n"
    (folder / "sshd_config").write_text(text)
    proxy = folder / "proxy.py"
    proxy.write_text(PROXY)
    (folder / "config").write_text(
        CLIENT.format(host=HOST, port=port, folder=folder, python=sys.executable, proxy=proxy)
    )
    program = server.programs / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    program.chmod(0o755)
    server.cut(0, 0, 0)
    command = ["/usr/sbin/sshd", "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")]
    process = subprocess.Popen(command)
    try:
        wait_until_up(program, folder / "sshd.log")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def wait_until_up(program: Path, log: Path, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while (result := subprocess.run([program, HOST, "true"], capture_output=True, text=True, timeout=60)).returncode:
        said = log.read_text() if log.exists() else ""
        assert time.monotonic() < deadline, f"sshd did not come up: {result.stderr} {said}"
        time.sleep(0.2)
