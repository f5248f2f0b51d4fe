"""A MariaDB server of the machine's own binaries (Debian's package mariadb-server), in a directory of its own."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import OperationalError

SERVER = shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
"""The server's program; None: there is none, and what needs it is not collected. `.ci/run` installs it."""


@contextmanager
def mariadb_server() -> Iterator[Callable[[], str]]:
    """
    Run a server as long as the context lasts; give a function that makes an empty database and returns its URL.

    The server listens on a Unix socket only.
    """
    assert SERVER is not None
    with tempfile.TemporaryDirectory(prefix="nenoa-my-") as directory:
        data, socket = Path(directory) / "data", Path(directory) / "socket"
        install = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
        ]
        user = f"--user={getpass.getuser()}"
        subprocess.run([*install, user, "--skip-test-db"], check=True, stdout=subprocess.DEVNULL)
        options = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={directory}/pid", "--skip-networking"]
        log = (Path(directory) / "log").open("w")
        server = subprocess.Popen([SERVER, "--no-defaults", user, *options], stdout=log, stderr=log)
        root = f"mysql+pymysql://root@localhost/?unix_socket={socket}"
        numbers = count(1)

        def make_database() -> str:
            name = f"test_{next(numbers)}"
            _execute(root, f"CREATE DATABASE {name}")
            return root.replace("/?", f"/{name}?", 1)

        try:
            _wait_for(server, root)
            yield make_database
        finally:
            server.terminate()
            server.wait()
            log.close()


def _wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            return _execute(url, "SELECT 1")
        except OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)


def _execute(url: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement))
    finally:
        engine.dispose()
