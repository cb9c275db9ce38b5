"""What preparing data must know of a checkpoint's tokenizer, without transformers: rules, template and ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

from engine.chat_templates import hugchat_template
from engine.checkpoints.model import Checkpoint
from sft.errors import SftError

OWN_TEMPLATE = ""
HUGCHAT_TEMPLATE = "hugchat"

# To be raised when the same files become another ChatTokenizer.
VERSION = 1

_KEPT = 20
_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True)
class ChatTokenizer:
    """A tokenizer and the chat format its checkpoint is spoken to with.

    tokenizer_json: in the format of the tokenizers library, the rules that transformers itself applies. template: Jinja
    text. template_kind: "hugchat" for HugChat's own format, where a blank line ends an answer; else the template says
    it with a token. variables: what the template may name (bos_token, ...). special: of each special token its
    text, its id, and whether it swallows the white space on its left and right. opening_ids: what the tokenizer puts
    before a text. eos_id: the token that ends a text. vocabulary: token ids are below it.
    """

    tokenizer_json: str
    template: str
    template_kind: Literal["checkpoint", "hugchat"]
    variables: dict[str, str]
    special: tuple[tuple[str, int, bool, bool], ...]
    opening_ids: tuple[int, ...]
    eos_id: int | None
    vocabulary: int

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(msgspec.json.encode(self))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> ChatTokenizer:
        """Raises SftError when the file is not there or is none of `save`'s."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise SftError(f"{path} could not be read: {error}", "Start the run again: it is made anew.") from None

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of everything that decides which tokens a conversation becomes."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def read_chat_tokenizer(checkpoint: Checkpoint, template: str = OWN_TEMPLATE) -> ChatTokenizer:
    """The checkpoint's tokenizer as a chat with it would use it; an adapter's own if it has one, else its base's.

    template: "" for the checkpoint's own, HugChat's format where it has none; "hugchat" for that one; else the path of
    a Jinja file. A child process with transformers reads it, which takes some seconds and runs no code of the
    checkpoint. Raises SftError.
    """
    arguments = [str(checkpoint.path)]
    if checkpoint.base is not None:
        arguments += ["--base", str(checkpoint.base)]
    if template:
        arguments += ["--template", template]
    output, log, code = _run_child(arguments)
    if code == 0:
        try:
            return msgspec.json.decode(output, type=ChatTokenizer)
        except msgspec.DecodeError as error:
            raise SftError(f"The tokenizer of {checkpoint.name} could not be read: {error}") from None
    try:
        failure = json.loads(output)
        words, hint = str(failure["error"]), str(failure["hint"])
    except (ValueError, KeyError, TypeError):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise SftError(
            f"The process that reads the tokenizer of {checkpoint.name} died ({how}). {log}".strip(),
            "It may have run out of memory. Close other programs and try again.",
        ) from None
    raise SftError(words, hint)


def kept_chat_tokenizer(checkpoint: Checkpoint, template: str, folder: Path) -> ChatTokenizer:
    """`read_chat_tokenizer`, whose answers are kept in a folder while the checkpoint's files stay as they are."""
    path = folder / f"{_identity(checkpoint, template)}.json"
    with suppress(SftError):
        return ChatTokenizer.load(path)
    chat = read_chat_tokenizer(checkpoint, template)
    with suppress(OSError):  # it saves time and nothing else
        folder.mkdir(parents=True, exist_ok=True)
        chat.save(path)
        kept = sorted(folder.glob("*.json"), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in kept[_KEPT:]:
            old.unlink()
    return chat


def _identity(checkpoint: Checkpoint, template: str) -> str:
    """Changes with anything that the answer rests on; files are told apart by name, size and time."""
    places = [checkpoint.path, *([checkpoint.base] if checkpoint.base is not None else [])]
    if template not in (OWN_TEMPLATE, HUGCHAT_TEMPLATE):
        places.append(Path(template))
    files = [each for place in places for each in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    found = [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files if each.is_file()]
    versions = VERSION, version("transformers"), hashlib.sha256(hugchat_template().encode()).hexdigest()
    return hashlib.sha256(msgspec.json.encode([template, found, versions])).hexdigest()[:32]


def _run_child(arguments: list[str]) -> tuple[bytes, str, int]:
    """What it printed, the end of what it printed as errors, and its exit status. It ends when we do."""
    # -P: a folder that happens to be called "sft" in the current directory is not what we mean.
    command = [sys.executable, "-P", "-m", "engine.checkpoints.children", "sft.training.tokenizer_facts", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            output = child.stdout.read()
            code = child.wait()
        finally:
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            child.stdin.close()
            child.stdout.close()
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - _LOG_TAIL))
        return output, " ".join(log.read().decode("utf-8", "replace").split()), code
