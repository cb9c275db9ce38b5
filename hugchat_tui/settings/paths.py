"""Where the settings and a person's own themes lie."""

from __future__ import annotations

import os
from pathlib import Path

from engine.checkpoints.paths import APP_NAME


def config_dir() -> Path:
    """HUGCHAT_CONFIG_DIR, else the platform's folder for settings of hugchat-tui."""
    override = os.environ.get("HUGCHAT_CONFIG_DIR")
    if override:
        return Path(override).expanduser().absolute()
    from platformdirs import user_config_path

    return user_config_path(APP_NAME, appauthor=False)


def config_file() -> Path:
    return config_dir() / "config.toml"
