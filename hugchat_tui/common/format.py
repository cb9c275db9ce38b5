"""Numbers, times and names as a person reads them. Pure functions; nothing here depends on a locale."""

from __future__ import annotations

import time
from datetime import date

from rich.cells import cell_len, split_graphemes

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ELLIPSIS = "…"


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    """The value in the largest unit that leaves at least 1; one decimal below 10, none above."""
    for unit in units:
        digits = 1 if value < 9.95 and unit != units[0] else 0
        if round(value, digits) < base or unit == units[-1]:
            return f"{value:.{digits}f} {unit}"
        value /= base
    raise AssertionError("the last unit always answers")


def file_size(size_bytes: int) -> str:
    """Bytes on disk, in the decimal units that the Hub and file managers show: "270 MB", "1.2 GB"."""
    return _scaled(size_bytes, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


def memory_size(size_bytes: int) -> str:
    """Bytes of memory, in binary units: "512 MiB", "3.1 GiB"."""
    return _scaled(size_bytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def parameter_count(count: int) -> str:
    """Parameters of a model as its name would say it: "135M", "1.2B". Empty for 0, which means unknown."""
    return _scaled(count, 1000, ("", "K", "M", "B", "T")).replace(" ", "") if count else ""


def grouped(count: int) -> str:
    """An exact count with its thousands set apart: "8,192"."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural unless it is one: "1 line", "1,902 lines"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def sentences(*parts: str) -> str:
    """The parts one after the other, each closed with a full stop where it has no end of its own."""
    known = [part.strip() for part in parts if part.strip()]
    return " ".join(part if part[-1] in ".!?:…)" else f"{part}." for part in known)


def duration(seconds: float) -> str:
    """A span of time: "0.42 s", "4.2 s", "42 s", "3 min 05 s", "2 h 14 min", "3 d 4 h"."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24} h"


def rate(per_second: float) -> str:
    """A speed as a bare number: "128", "38", "4.2"."""
    return f"{per_second:.0f}" if per_second >= 9.95 else f"{per_second:.1f}"


def local_date(timestamp: float) -> date:
    """The calendar day of a moment, in the person's time zone."""
    return date(*time.localtime(timestamp)[:3])


def moment(timestamp: float, now: float) -> str:
    """A moment as short as it stays clear: "14:05", "Mon 14:05" (six days), "12 Mar", "12 Mar 2024"."""
    then = time.localtime(timestamp)
    days = (local_date(now) - local_date(timestamp)).days
    clock = f"{then.tm_hour:02}:{then.tm_min:02}"
    if days == 0:
        return clock
    if 0 < days < 7:
        return f"{_DAYS[then.tm_wday]} {clock}"
    day = f"{then.tm_mday} {_MONTHS[then.tm_mon - 1]}"
    return day if then.tm_year == time.localtime(now).tm_year else f"{day} {then.tm_year}"


def shorten(text: str, cells: int) -> str:
    """The text in at most `cells` terminal cells, its end replaced by an ellipsis when it is longer.

    Never cuts inside a grapheme: a wide character that would stand half outside is left out.
    """
    if cell_len(text) <= cells:
        return text
    if cells < 1:
        return ""
    used, ends = 0, [0]
    # A grapheme holds a few characters at most, so this much text surely covers the room there is.
    for _, stop, width in split_graphemes(text[: 8 * cells + 64])[0]:
        if used + width > cells - 1:
            break
        used += width
        ends.append(stop)
    while cell_len(text[: ends[-1]]) > cells - 1:  # one that begins with joiners counted as nothing
        ends.pop()
    return text[: ends[-1]].rstrip() + ELLIPSIS


def shorten_start(text: str, cells: int) -> str:
    """Like `shorten`, but the beginning is left out: right for paths, whose end says what they are."""
    if cell_len(text) <= cells:
        return text
    if cells < 1:
        return ""
    used, begins = 0, [len(text)]
    for start, _, width in reversed(split_graphemes(text)[0]):
        if used + width > cells - 1:
            break
        used += width
        begins.append(start)
    while cell_len(text[begins[-1] :]) > cells - 1:
        begins.pop()
    return ELLIPSIS + text[begins[-1] :]


def shorten_middle(text: str, cells: int) -> str:
    """Like `shorten`, but the middle is left out: right for names, whose beginning and end tell them apart."""
    if cell_len(text) <= cells or cells < 3:
        return shorten(text, cells)
    begin = shorten(text, (cells + 1) // 2 + 1).removesuffix(ELLIPSIS)
    end = shorten_start(text, cells - cell_len(begin)).removeprefix(ELLIPSIS)
    return f"{begin}{ELLIPSIS}{end}"


def fit(text: str, cells: int) -> str:
    """The text in exactly `cells` cells: shortened or padded on the right."""
    fitted = shorten(text, cells)
    # A joiner at the end swallows the space after it, so count anew instead of subtracting once.
    while (missing := cells - cell_len(fitted)) > 0:
        fitted += " " * missing
    return fitted
