"""What starts processes for the tests must leave none behind, whatever happens to it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import psutil
import pytest

from tests.support import processes
from tests.support.airflow_api import wait_until

SLEEPER = "import time; time.sleep(60)"
# A member of the group, and its child in a session of its own.
MEMBER = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True).wait()
"""
# The one who started it, and a guard.
PARENT = f"""
import os, subprocess, sys
from tests.support import processes
group = sys.argv[1]
processes.guard(group)
subprocess.Popen([sys.executable, "-c", {MEMBER!r}], env=os.environ | processes.marked(group)).wait()
"""


@pytest.fixture
def group() -> Iterator[str]:
    name = f"test-{uuid.uuid4()}"
    yield name
    processes.end_group(name, patience=0.1)


def start_two(group: str) -> subprocess.Popen[bytes]:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, group])
    wait_until(lambda: len(processes.members(group)) == 2, 20, lambda: f"{processes.members(group)}")
    return parent


def test_a_group_ends_when_the_one_who_started_it_is_killed(group: str) -> None:
    parent = start_two(group)
    parent.kill()
    parent.wait()
    wait_until(lambda: not processes.members(group), 20, lambda: f"left: {processes.members(group)}")


def test_a_killed_tree_takes_descendants_in_other_sessions_along(group: str) -> None:
    parent = start_two(group)
    processes.kill_tree(min(processes.members(group), key=psutil.Process.create_time))
    assert processes.members(group) == []
    parent.kill()
    parent.wait()


def test_only_members_of_the_group_are_ended(group: str) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPER], env=os.environ | processes.marked("another"))
    try:
        processes.end_group(group)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
