"""Opens data files: plain ones, and what lies in .gz, .zip and .tar archives, without unpacking any to disk.

Everything is read as a stream, so an archive that unpacks to more than there is memory costs time and nothing else.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

from engine.checkpoints.reading import UnreadableError, open_regular, reason
from sft.errors import SftError

Kind = Literal["json", "table", "parquet", "text"]

CHUNK = 1024 * 1024  # bytes read at a time
HEAD = 64 * 1024  # bytes by which a file is recognised
KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "parquet",
    ".txt": "text",
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
# What reading damaged files raises; zipfile says RuntimeError for encrypted members, NotImplementedError for methods.
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Part:
    """A file to read rows from, or a member of an archive. name: as it is shown. open: each time from its beginning."""

    name: str
    kind: Kind
    open: Callable[[], BinaryIO]

    def head(self) -> bytes:
        """The first bytes, at most HEAD. Raises what `open` does."""
        with self.open() as stream:
            return stream.read(HEAD)


@dataclass(slots=True)
class Skip:
    """left: rows that are still to be passed over, in this file or the next ones."""

    left: int = 0


def is_data(name: str) -> bool:
    """Whether a file of this name is taken from a folder."""
    return _kind(name) is not None or name.lower().endswith(_ARCHIVES)


def parts_of(path: Path, name: str) -> Iterator[Part]:
    """What is to be read in a file: itself, or the members of an archive by name. name: of the file, as it is shown.

    Raises SftError when it cannot be opened or holds nothing that is known.
    """
    lower = path.name.lower()
    if lower.endswith(".zip"):
        yield from _members(name, _zip_members(path, name))
    elif lower.endswith(_ARCHIVES):
        yield from _members(name, _tar_members(path, name))
    else:
        first = _first_bytes(path, name)
        zipped = first.startswith(b"\x1f\x8b")
        kind = _kind(path.name) or _kind_of_content(first, name)
        yield Part(name, kind, lambda: _unzipped(_opened(path, name)) if zipped else _opened(path, name))


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        return io.BufferedReader(cast(io.BufferedReader, open_regular(path)).detach(), CHUNK)
    except FileNotFoundError:
        raise SftError(f"{name} is not there.", "Check the path.") from None
    except UnreadableError as error:
        raise SftError(f"{error}.", f"Check {path}.") from error
    except OSError as error:
        raise SftError(f"{name} cannot be read: {reason(error)}.", f"Check {path}.") from error


def _first_bytes(path: Path, name: str) -> bytes:
    """Of what is in the file, unpacked. Damage to it is reported when its rows are read."""
    with _opened(path, name) as stream:
        try:
            first = stream.read(64)
            if first.startswith(b"\x1f\x8b") and _kind(path.name) is None:
                stream.seek(0)
                return first[:2] + _unzipped(stream).read(64)
        except OSError as error:
            raise SftError(f"{name} cannot be read: {reason(error)}.", "Check the disk.") from error
        except DAMAGED as error:
            raise SftError(f"{name} is damaged: {error}.", "Fetch it again.") from error
    return first


class _Unzipped(gzip.GzipFile):
    """Closes the file that it reads, too."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(fileobj=stream, mode="rb")
        self._stream = stream

    def close(self) -> None:
        super().close()
        self._stream.close()


def _unzipped(stream: IO[bytes]) -> BinaryIO:
    return io.BufferedReader(cast(io.RawIOBase, _Unzipped(stream)), CHUNK)


def _kind(name: str) -> Kind | None:
    plain = name.lower().removesuffix(".gz")
    return next((kind for suffix, kind in KINDS.items() if plain.endswith(suffix)), None)


def _kind_of_content(first: bytes, name: str) -> Kind:
    """Of a file whose name says nothing."""
    if first.startswith(b"PAR1"):
        return "parquet"
    if first.removeprefix(b"\x1f\x8b").removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json"
    raise SftError(
        f"{name} is of no kind that can be read.", f"Give it one of the endings {', '.join((*KINDS, '.gz', '.zip'))}."
    )


def _members(name: str, found: list[tuple[str, Callable[[], IO[bytes]]]]) -> Iterator[Part]:
    usable = 0
    for member, opened in sorted(found, key=lambda each: each[0]):
        kind = _kind(member)
        if kind is None or any(part.startswith((".", "__MACOSX")) for part in member.split("/")):
            continue
        if kind == "parquet":
            raise SftError(f"{name} holds the parquet file {member}.", "Unpack the archive first.")
        usable += 1
        packed = member.lower().endswith(".gz")
        yield Part(f"{name}:{member}", kind, _member_opener(opened, packed))
    if not usable:
        some = ", ".join(sorted(member for member, _ in found)[:5]) or "nothing"
        raise SftError(f"{name} holds no file that can be read, but {some}.", f"Known endings: {', '.join(KINDS)}.")


def _member_opener(opened: Callable[[], IO[bytes]], packed: bool) -> Callable[[], BinaryIO]:
    def opener() -> BinaryIO:
        stream = opened()
        return _unzipped(stream) if packed else io.BufferedReader(cast(io.RawIOBase, stream), CHUNK)

    return opener


def _zip_members(path: Path, name: str) -> list[tuple[str, Callable[[], IO[bytes]]]]:
    try:
        archive = zipfile.ZipFile(_opened(path, name))
    except (*DAMAGED, ValueError, struct.error) as error:
        raise SftError(f"{name} is no zip archive, or is damaged: {error}.", "Fetch it again.") from error

    def opener(info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            try:
                return archive.open(info)
            except RuntimeError as error:  # it is encrypted
                raise SftError(f"{name} cannot be unpacked: {error}.", "Unpack it first.") from error

        return opened

    return [(info.filename, opener(info)) for info in archive.infolist() if not info.is_dir()]


def _tar_members(path: Path, name: str) -> list[tuple[str, Callable[[], IO[bytes]]]]:
    try:
        archive = tarfile.open(fileobj=_opened(path, name), mode="r:*")  # noqa: SIM115 - open as long as its members are read
        members = [member for member in archive if member.isreg()]
    except (*DAMAGED, ValueError, struct.error) as error:
        raise SftError(f"{name} is no tar archive, or is damaged: {error}.", "Fetch it again.") from error

    def opener(member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            stream = archive.extractfile(member)
            assert stream is not None  # it is a regular file
            return stream

        return opened

    return [(member.name, opener(member)) for member in members]
