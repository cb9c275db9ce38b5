"""The screen's end of a worker's channel: frames to requests and events, on the event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from engine import protocol
from engine.process import WorkerLog

_READ_BYTES = 1 << 16  # one wake-up of the loop takes everything readable, up to this: about 2 ms of decoding


class Channel(asyncio.BufferedProtocol):
    """Delivers events as they come. `lost` is done when the other end is gone and all was delivered."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames = protocol.FrameBuffer()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self._on_event: Callable[[protocol.Event], None] | None = None
        self._on_garbage: Callable[[str], None] | None = None

    def listen(self, on_event: Callable[[protocol.Event], None], on_garbage: Callable[[str], None]) -> None:
        """Start delivering. on_garbage hears what was wrong with bytes that are no event."""
        self._on_event = on_event
        self._on_garbage = on_garbage
        if self._transport is not None:
            self._transport.resume_reading()

    def send(self, request: protocol.Request) -> None:
        """Raises ValueError when the request exceeds the frame limit. Does nothing on a lost channel."""
        frame = protocol.encode_frame(request)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def hold(self, held: bool) -> None:
        """Stop reading, so that the worker waits once its buffers are full; or go on."""
        if self._transport is None or self._transport.is_closing():
            return
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once. The worker ends when it notices."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.pause_reading()  # until somebody listens

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._on_event is not None and self._on_garbage is not None
        try:
            for body in self._frames.feed(self._buffer[:nbytes]):
                self._on_event(protocol.decode_event(body))
        except (ValueError, msgspec.DecodeError) as error:
            self._on_garbage(str(error))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def open_channel() -> tuple[Channel, WorkerLog, socket.socket, int]:
    """A channel and a log: our ends connected to the loop, the worker's as socket and descriptor."""
    loop = asyncio.get_running_loop()
    with ExitStack() as undo:
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        undo.callback(theirs.close)
        log_end, their_log_end = os.pipe()
        undo.callback(os.close, their_log_end)
        log_file = undo.enter_context(os.fdopen(log_end, "rb", buffering=0))
        _, channel = await loop.create_unix_connection(Channel, sock=ours)
        undo.callback(channel.abort)
        _, log = await loop.connect_read_pipe(WorkerLog, log_file)
        undo.pop_all()
        return channel, log, theirs, their_log_end
