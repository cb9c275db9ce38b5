"""A home of its own for the program under test."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HUGCHAT = (sys.executable, "-m", "hugchat_tui")


def environment(home: Path, **more: str) -> dict[str, str]:
    """The variables for a program that lives in `home`, and finds the starter's package where make setup put it."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "HUGCHAT_DATA_DIR": str(home / "data"),
        "HUGCHAT_CONFIG_DIR": str(home / "config"),
        "HF_HOME": str(home / "huggingface"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(ROOT / ".cache" / "wheels"),
        **more,
    }


def home_with_starter(home: Path, starter: Path) -> dict[str, str]:
    """The variables for a home where the starter is installed already; its weights are linked, not copied."""
    target = home / "data" / "models" / "starter"
    target.parent.mkdir(parents=True)
    shutil.copytree(starter, target, copy_function=os.link)
    return environment(home)
