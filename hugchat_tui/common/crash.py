"""What an error that nobody expected leaves behind: its traceback in the logs folder, one line for the terminal.

The traceback is written without the values of variables: they hold conversations, and may hold secrets.
"""

from __future__ import annotations

import os
import traceback
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from hugchat_tui.common.clean import clean_line

_SHOWN = 200  # characters of the error's own words


def report(error: BaseException) -> str:
    """Write the error's traceback to crash-TIME.log in the logs folder; returns a line that says what happened.

    The line is clean. It also says so when the log could not be written.
    """
    from engine.checkpoints.paths import data_dir, logs_dir

    try:
        place = f"The log has the details: {write_log(error, logs_dir(data_dir()))}"
    except OSError as failure:
        place = f"The details could not be written to a log: {failure}"
    words = str(error)
    if len(words) > _SHOWN:
        words = f"{words[:_SHOWN]} [cut, {len(words) - _SHOWN} characters more]"
    what = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return clean_line(f"HugChat had to stop: an error in the program itself ({what}). {place}")


def write_log(error: BaseException, folder: Path) -> Path:
    """The new file with the traceback, which only the person can read. Raises OSError."""
    now = datetime.now().astimezone()
    lines = [
        f"hugchat {version('hugchat-tui')}, {now.isoformat(timespec='seconds')}\n",
        *traceback.format_exception(error),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"crash-{now:%Y%m%d-%H%M%S-%f}.log"
    # What an error quotes may be anything, half a surrogate pair too.
    content = "".join(lines).encode(errors="backslashreplace")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
