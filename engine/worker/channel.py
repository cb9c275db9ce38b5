"""The worker's end of the channel: a thread of its own, so that computing never waits for the screen."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections.abc import Callable

from engine import protocol

MAX_UNSENT_BYTES = 1 << 20
_READ_BYTES = 1 << 16

log = logging.getLogger(__name__)


class Channel:
    """Sends events and hands over requests. When the other end is gone, the process ends at once.

    A frame goes out directly when the socket has room, which it nearly always has. What does not fit is kept
    and sent by the thread; a sender waits only once MAX_UNSENT_BYTES are kept, which means that nobody reads
    them.
    """

    def __init__(self, sock: socket.socket, on_request: Callable[[protocol.Request], None]) -> None:
        """on_request is called on the channel's thread, where events must be sent with `wait=False`."""
        sock.setblocking(False)
        self._sock = sock
        self._on_request = on_request
        self._frames = protocol.FrameBuffer()
        self._unsent = bytearray()
        self._room = threading.Condition()
        self._wake_reader, self._wake_writer = os.pipe()

    def start(self) -> None:
        threading.Thread(target=self._serve, name="channel", daemon=True).start()

    def send(self, event: protocol.Event, wait: bool = True) -> None:
        """Send from any thread. Waits while too much is unsent, unless told not to."""
        frame = protocol.encode_frame(event)
        with self._room:
            while wait and len(self._unsent) > MAX_UNSENT_BYTES:
                self._room.wait()
            sent = 0 if self._unsent else self._send_now(frame)
            if sent < len(frame):
                if not self._unsent:
                    os.write(self._wake_writer, b"\0")
                self._unsent += frame[sent:]

    def _send_now(self, data: bytes | bytearray) -> int:
        """How much of data the socket took. A closed socket takes nothing: the thread is about to notice."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, ConnectionError):
            return 0

    def _serve(self) -> None:
        code = 1
        try:
            self._exchange()
            code = 0
        except Exception:
            log.exception("the channel failed")
        finally:
            os._exit(code)  # without the channel this process is of no use, whatever it is computing

    def _exchange(self) -> None:
        """Returns when the other end is gone. Raises ValueError or msgspec.DecodeError on senseless bytes."""
        poller = select.poll()
        poller.register(self._wake_reader, select.POLLIN)
        while True:
            with self._room:
                wanted = select.POLLIN | (select.POLLOUT if self._unsent else 0)
            poller.register(self._sock, wanted)
            ready = dict(poller.poll())
            if self._wake_reader in ready:
                os.read(self._wake_reader, _READ_BYTES)
            happened = ready.get(self._sock.fileno(), 0)
            if happened & select.POLLOUT:
                self._flush()
            if happened & ~select.POLLOUT and not self._receive():
                return

    def _flush(self) -> None:
        with self._room:
            del self._unsent[: self._send_now(self._unsent)]
            if len(self._unsent) <= MAX_UNSENT_BYTES:
                self._room.notify_all()

    def _receive(self) -> bool:
        """False when the other end is gone."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        for body in self._frames.feed(data):
            self._on_request(protocol.decode_request(body))
        return bool(data)
