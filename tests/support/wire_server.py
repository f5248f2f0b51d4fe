"""A server and a proxy that break where a test wants it, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

Behaviour = Callable[["WireServer", socket.socket], None]


def reset(connected: socket.socket) -> None:
    """Close a connection with an RST instead of a FIN."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connected.close()


class _Threads:
    """Accepts connections on a port of its own and hands each to a thread."""

    def __init__(self) -> None:
        self.connections = 0
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connected)
            thread = threading.Thread(target=self._serve_quietly, args=(connected,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve_quietly(self, connected: socket.socket) -> None:
        try:
            self.serve(connected)
        except OSError:
            pass  # the client has gone
        finally:
            connected.close()

    def serve(self, connected: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Stop accepting, and break what is open."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


class WireServer(_Threads):
    """
    Does with each connection what it is told.

    :param behaviour: Serves one connection.
    :param certificate: A PEM file with key; None: the server speaks no TLS.
    """

    def __init__(self, behaviour: Behaviour, certificate: Path | None = None) -> None:
        self.behaviour = behaviour
        self.heads: list[bytes] = []
        self.went = threading.Event()
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        super().__init__()

    def serve(self, connected: socket.socket) -> None:
        try:
            self.behaviour(self, connected)
        finally:
            self.went.set()

    def secured(self, connected: socket.socket) -> socket.socket:
        """Do the TLS handshake, if this server speaks TLS."""
        return self.context.wrap_socket(connected, server_side=True) if self.context else connected

    def read_head(self, connected: socket.socket) -> bytes:
        """Read a request up to the end of its headers; nothing, if none comes."""
        head = b""
        while b"\r\n\r\n" not in head:
            part = connected.recv(1)
            if not part:
                return b""
            head += part
        self.heads.append(head)
        return head

    def read_request(self, connected: socket.socket) -> None:
        """Read a whole request."""
        for line in self.read_head(connected).lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                left = int(line.partition(b":")[2])
                while left and (part := connected.recv(left)):
                    left -= len(part)


class Proxy(_Threads):
    """
    A proxy that opens ways to hosts by CONNECT.

    :param refusal: The status line's end with which it refuses, such as ``502 Bad Gateway``; None: it does not.
    """

    def __init__(self, refusal: str | None = None) -> None:
        self.refusal = refusal
        self.asked: list[bytes] = []
        super().__init__()

    def serve(self, connected: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connected.recv(1)
            if not part:
                return
            head += part
        self.asked.append(head)
        if self.refusal is not None:
            connected.sendall(f"HTTP/1.1 {self.refusal}\r\n\r\n".encode())
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))) as there:
            connected.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, connected), daemon=True)
            back.start()
            _pump(connected, there)
            back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy one direction; whatever breaks here breaks there."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
