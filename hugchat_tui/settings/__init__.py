"""Typed settings and colour themes."""

from __future__ import annotations

from hugchat_tui.settings.errors import SettingsError
from hugchat_tui.settings.loading import load_settings

__all__ = ["SettingsError", "load_settings"]
