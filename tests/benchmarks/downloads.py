"""A large result file: fetched, hashed and stored by us, against curl, which only stores it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.table import Row

MIB = 2**20
SIZE = 1024 * MIB
SMALL = 16 * MIB
GIGABIT = 125_000_000
"""Bytes a second."""
ROUNDS = 3
HELD_ROUNDS = 2
FLAT = 32 * MIB
"""By how much peak memory may differ between a small and a large file: allocators are not exact."""


def _serve(listener: socket.socket, bytes_per_second: float | None) -> None:
    """Answer ``GET /<size>/...`` with so many bytes, one connection at a time."""
    block = os.urandom(MIB)
    while True:
        connection, _ = listener.accept()
        with connection:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            size = int(asked.split(b"/", 2)[1].split(b"/")[0])
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            began, sent = time.monotonic(), 0
            while sent < size:
                connection.sendall(block)
                sent += len(block)
                if bytes_per_second:
                    time.sleep(max(0.0, began + sent / bytes_per_second - time.monotonic()))


@contextmanager
def _file_server(bytes_per_second: float | None = None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = get_context("fork").Process(target=_serve, args=(listener, bytes_per_second), daemon=True)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.kill()
            server.join()


def _warm(directory: str, size: int) -> None:
    """
    Let the machine give us the memory that its cache will hold the file in.

    Virtual machines take free memory away and give it back slowly: whoever comes first would pay for it.
    """
    Path(directory).mkdir(exist_ok=True)
    file = Path(directory, "warm")
    with file.open("wb", buffering=0) as opened:
        for _ in range(size // MIB):
            opened.write(bytes(MIB))
    file.unlink()


def _ours(url: str, size: int, directory: str) -> tuple[float, int]:
    """Seconds, and peak memory in bytes, of a process that fetches one file."""
    command = [sys.executable, "-m", "tests.benchmarks.downloads", f"{url}/{size}/result.bin", directory]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shutil.rmtree(directory)
    told = json.loads(output.splitlines()[-1])
    assert told["size"] == size
    return told["seconds"], told["peak"]


def _curl(url: str, size: int, directory: str) -> float:
    _warm(directory, size)
    command = ["curl", "--silent", "--fail", "--output", f"{directory}/result.bin", f"{url}/{size}/result.bin"]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    shutil.rmtree(directory)
    return seconds


def _pairs(url: str, rounds: int, directory: str) -> tuple[float, float, int]:
    """Median seconds of ours and of curl, in turns; and our peak memory."""
    ours, curl, peaks = [], [], []
    for _ in range(rounds):
        seconds, peak = _ours(url, SIZE, directory)
        ours.append(seconds)
        peaks.append(peak)
        curl.append(_curl(url, SIZE, directory))
    return statistics.median(ours), statistics.median(curl), max(peaks)


def rows() -> list[Row]:
    """Over bare loopback, and from a server held to 1 Gbit/s; and memory."""
    if shutil.which("curl") is None:
        return [Row("streaming a result file", "≥ 0.5 of curl", "not measured", "", False, "there is no curl")]
    with tempfile.TemporaryDirectory() as temporary:
        directory = f"{temporary}/results"
        with _file_server() as url:
            _, small_peak = _ours(url, SMALL, directory)
            ours, curl, peak = _pairs(url, ROUNDS, directory)
        with _file_server(GIGABIT) as url:
            held_ours, held_curl, _ = _pairs(url, HELD_ROUNDS, directory)

    def row(where: str, target: float, seconds: float, reference: float, rounds: int) -> Row:
        return Row(
            f"streaming a result file of {SIZE // MIB} MiB, SHA-256 included, {where}",
            f"≥ {target} of curl",
            f"{SIZE / MIB / seconds:.0f} MiB/s; {reference / seconds:.2f} of curl",
            f"curl {SIZE / MIB / reference:.0f} MiB/s",
            reference / seconds >= target,
            f"both store the file on the same disk; median of {rounds} in turns",
        )

    growth = (peak - small_peak) / MIB
    return [
        row("bare loopback", 0.5, ours, curl, ROUNDS),
        row("server held to 1 Gbit/s", 0.95, held_ours, held_curl, HELD_ROUNDS),
        Row(
            "peak memory of that",
            f"flat (within {FLAT // MIB} MiB)",
            f"{growth:+.1f} MiB for {SIZE // SMALL} times the bytes",
            f"{small_peak / MIB:.0f} MiB with a file of {SMALL // MIB} MiB",
            peak - small_peak <= FLAT,
            "peak resident set of the whole process",
        ),
    ]


def _fetch(url: str, directory: str) -> None:
    from airflow.sdk.listener import get_listener_manager

    from airflow_provider_nenoa.results.addresses import Guard
    from airflow_provider_nenoa.results.download import Downloads

    get_listener_manager()  # as in every task: it loads the plugins, which takes a second
    downloads = Downloads(f"file://{directory}", Guard(loopback=True))
    _warm(directory, int(urlsplit(url).path.split("/")[1]))
    began = time.perf_counter()
    (stored,) = downloads.fetch({"result_url": f"{url}?sig=benchmark"})
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "size": stored["size"], "peak": peak}))


if __name__ == "__main__":
    _fetch(*sys.argv[1:])
