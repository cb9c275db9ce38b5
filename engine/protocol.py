"""Every message that crosses the channel between the screen and an engine worker.

The channel is a socket pair of its own; the worker's stdin is /dev/null and its stdout and stderr go to a
log, so nothing a library prints can corrupt it. A frame is a 4-byte big-endian length and that many bytes of
MessagePack (msgspec's tagged structs). The worker speaks first, with Hello. Requests that carry an `id` are
answered by events that carry the same `id`, the last of which is Finished or Failed.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PROTOCOL_VERSION = 2
MAX_FRAME_BYTES = 256 * 1024 * 1024

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["done", "stopped", "length"]


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation as the model sees it."""

    role: Role
    content: str


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen. Defaults are neutral: a filter at its default does nothing.

    temperature 0 is greedy. top_k 0, top_p 1, min_p 0 and repetition_penalty 1 are off. seed None lets the
    worker draw one, which it reports in Started.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_new_tokens: int = 1024
    stop: tuple[str, ...] = ()


# Requests, from the screen to the worker.


class Load(msgspec.Struct, tag="load", frozen=True, kw_only=True):
    """Load a checkpoint. Answered by LoadProgress*, then Loaded or Failed.

    path: a model directory, a GGUF file, or an adapter directory. base: the base model's directory or GGUF
    file, required for an adapter. device: "auto", "cpu", "cuda", "cuda:N" or "mps". dtype: "auto", "float32",
    "bfloat16" or "float16". spare: bytes on the device, beyond what the load takes, that may hold the base's own
    weights beside those with the adapter in them: what Adapt needs to have them back.
    """

    id: int
    path: str
    base: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    spare: int = 0


class Adapt(msgspec.Struct, tag="adapt", frozen=True, kw_only=True):
    """Put another adapter into the base that is loaded, or none. Answered by LoadProgress*, then Loaded or Failed.

    adapter: its directory. spare: as in Load. After Failed everything is as it was before.
    """

    id: int
    adapter: str | None
    spare: int = 0


class Generate(msgspec.Struct, tag="generate", frozen=True, kw_only=True):
    """Answer the last user message, or continue the last message when it is the assistant's.

    conversation: key of the KV cache to reuse; any string. Answered by Started, Prefilling*, Piece*, then
    Finished or Failed. One generation at a time; a second waits for the first.
    """

    id: int
    conversation: str
    messages: tuple[ChatMessage, ...]
    sampling: Sampling


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """Stop generation `id`, waiting or running: it ends with Finished("stopped"), a waiting one at once.

    Unknown ids are ignored.
    """

    id: int


Request = Load | Adapt | Generate | Cancel


# Events, from the worker to the screen.


class Hello(msgspec.Struct, tag="hello", frozen=True):
    version: int
    pid: int


class Warm(msgspec.Struct, tag="warm", frozen=True):
    """The heavy imports are done."""

    import_s: float


class LoadProgress(msgspec.Struct, tag="load-progress", frozen=True):
    """stage: a few words ("reading weights"). done and total are bytes or tensors; total 0 means unknown."""

    id: int
    stage: str
    done: int = 0
    total: int = 0


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded, and how."""

    path: str
    family: str  # config.model_type
    parameters: int
    weight_bytes: int
    kv_bytes_per_token: int
    device: str  # "cpu", "cuda:0", "mps"
    device_name: str  # "AMD EPYC", "NVIDIA H100"
    dtype: str  # "float32", "bfloat16", "float16"
    context_length: int
    template: Literal["checkpoint", "hugchat"]
    adapter: str | None = None
    kept_bytes: int = 0  # of the base's own weights, kept beside those with the adapter in them
    notes: tuple[str, ...] = ()  # what a person should know: dtype chosen because ..., tied weights rebuilt, ...


class Loaded(msgspec.Struct, tag="loaded", frozen=True):
    id: int
    info: ModelInfo


class Started(msgspec.Struct, tag="started", frozen=True, kw_only=True):
    """The prompt is built. omitted: indices into Generate.messages of what did not fit and was left out.

    notes: what else was done to the conversation that a person should know, in words for the screen.
    """

    id: int
    prompt_tokens: int
    cached_tokens: int
    context_length: int
    seed: int
    omitted: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class Prefilling(msgspec.Struct, tag="prefilling", frozen=True):
    """done of total prompt tokens are in the cache."""

    id: int
    done: int
    total: int


class Piece(msgspec.Struct, tag="piece", frozen=True):
    """Text that became certain, and the ids of the tokens generated since the last Piece.

    Never ends inside a character; may be empty text with ids (a held-back stop string or half a character).
    """

    id: int
    text: str
    token_ids: tuple[int, ...]


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. first_token_s runs from the worker's receipt of the request to the first sampled token."""

    queued_s: float
    prefill_s: float
    first_token_s: float
    decode_s: float
    tokens_per_second: float  # of decode, first token excluded; 0 when fewer than two tokens


class Finished(msgspec.Struct, tag="finished", frozen=True, kw_only=True):
    """reason: done (end of turn or stop string), stopped (cancelled), length (tokens or context used up)."""

    id: int
    reason: FinishReason
    prompt_tokens: int
    new_tokens: int
    timings: Timings


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """code: an EngineError subclass's `code`."""

    id: int
    code: str
    message: str
    hint: str = ""


Event = Hello | Warm | LoadProgress | Loaded | Started | Prefilling | Piece | Finished | Failed
GenerationEvent = Started | Prefilling | Piece | Finished

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def encode_frame(message: Request | Event) -> bytes:
    """The message as a frame, length first."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes exceeds the frame limit of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(4, "big") + body


def decode_request(body: bytes) -> Request:
    """Raises msgspec.DecodeError when body is no request."""
    return _request_decoder.decode(body)


def decode_event(body: bytes) -> Event:
    """Raises msgspec.DecodeError when body is no event."""
    return _event_decoder.decode(body)


class FrameBuffer:
    """Puts the bytes of a stream together into the bodies of its frames, however they were cut on the way."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The bodies that `data` completes, in order. Raises ValueError on a frame over MAX_FRAME_BYTES."""
        self._data += data
        bodies = []
        start = 0
        while len(self._data) - start >= 4:
            end = start + 4 + int.from_bytes(self._data[start : start + 4], "big")
            if end - start - 4 > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {end - start - 4} bytes exceeds the limit of {MAX_FRAME_BYTES}")
            if end > len(self._data):
                break
            bodies.append(bytes(self._data[start + 4 : end]))
            start = end
        del self._data[:start]
        return bodies
