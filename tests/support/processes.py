"""
Find and end every process of one group, whoever its parent is by now.

Airflow's components fork workers, supervisors and task processes, some in process groups of their own, and a killed
parent leaves its children to init. What all of them keep is the environment they inherited, so a group is marked there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import psutil

MARKER = "NENOA_PROCESS_GROUP"


def marked(group: str) -> dict[str, str]:
    """Return the environment variables that make a process and all its descendants members of ``group``."""
    # setproctitle would write its title over the memory in which others read a process's environment.
    return {MARKER: group, "SPT_NOENV": "1"}


def members(group: str) -> list[psutil.Process]:
    """Return the living processes of ``group``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARKER) == group and _is_alive(process):
                found.append(process)
    return found


def end_group(group: str, patience: float = 5.0) -> None:
    """
    End all processes of ``group``, politely first.

    :param group: What :func:`marked` was given when the first of them was started.
    :param patience: Seconds from SIGTERM to SIGKILL (default 5).
    """
    doomed = members(group)
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _await_end(doomed, patience)
    while left := members(group):  # asked anew each time: one that was ending may have started another
        _kill(left)


def kill_tree(root: psutil.Process) -> None:
    """SIGKILL a process with all its descendants at once, as when a container is lost."""
    # Stopped first: a parent that sees its child die would have time to report it.
    root.suspend()
    _kill([root, *root.children(recursive=True)])


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _await_end(processes, 10)


def _await_end(processes: list[psutil.Process], timeout: float) -> None:
    # Not psutil.wait_procs: it waits for zombies too, and those may not be ours to reap.
    deadline = time.monotonic() + timeout
    while any(map(_is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def guard(group: str) -> subprocess.Popen[bytes]:
    """
    Start a process that ends ``group`` when this one is gone, however it went: SIGKILL, a cancelled CI job.

    :return: The guard. It ends, with what is left of the group, when its ``stdin`` is closed.
    """
    environ = {key: value for key, value in os.environ.items() if key != MARKER}
    # A session of its own: a Ctrl-C in the terminal must not end the guard before its work is done.
    return subprocess.Popen(
        [sys.executable, __file__, group], stdin=subprocess.PIPE, env=environ, start_new_session=True
    )


if __name__ == "__main__":
    sys.stdin.buffer.read()  # returns when the last holder of the other end has gone
    end_group(sys.argv[1])
