"""The log: tracebacks, and what worker processes print."""

from __future__ import annotations

import logging
from pathlib import Path

MAX_BYTES = 2_000_000


def start_logging(folder: Path) -> None:
    """Let the program's log go to hugchat.log in `folder`, with one older file beside it. Raises OSError."""
    from logging.handlers import RotatingFileHandler

    folder.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(folder / "hugchat.log", maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("engine").setLevel(logging.INFO)
