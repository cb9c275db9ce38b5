"""Where things lie: the program's own data folder and the Hugging Face cache shared with other tools.

The environment is read at each call, so that a program, its child processes and its tests agree.
"""

from __future__ import annotations

import os
from pathlib import Path

APP_NAME = "hugchat-tui"


def data_dir() -> Path:
    """The program's data folder: HUGCHAT_DATA_DIR, else the platform's user data folder for hugchat-tui."""
    override = os.environ.get("HUGCHAT_DATA_DIR")
    if override:
        return Path(override).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path(APP_NAME, appauthor=False)


def models_dir(data: Path) -> Path:
    """Models that this program made itself; downloads live in the Hugging Face cache instead."""
    return data / "models"


def runs_dir(data: Path) -> Path:
    """One directory a training run."""
    return data / "runs"


def datasets_dir(data: Path) -> Path:
    """Data sets that this program made of conversations."""
    return data / "datasets"


def downloads_dir(data: Path) -> Path:
    """One directory a download that is not done, or was not when the program ended."""
    return data / "downloads"


def logs_dir(data: Path) -> Path:
    """What the worker processes print, and tracebacks."""
    return data / "logs"


def hub_cache_dir() -> Path:
    """The Hugging Face cache, found as huggingface_hub finds it: HF_HUB_CACHE, else HF_HOME/hub.

    HF_HOME defaults to XDG_CACHE_HOME/huggingface, and that to ~/.cache/huggingface.
    """
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if cache:
        return _expanded(cache)
    home = os.environ.get("HF_HOME")
    if home:
        return _expanded(home) / "hub"
    xdg = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(xdg) / "huggingface" / "hub"


def full_path(folder: Path) -> Path:
    """A folder that a person named, from the root; "~" and "~user" stand for a home where there is such a user."""
    try:
        return folder.expanduser().absolute()
    except RuntimeError:  # no such user: then it is a folder of that name, which is most likely not there
        return folder.absolute()


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser().absolute()
