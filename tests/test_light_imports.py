"""The light halves start without the heavy libraries, and the first frame without what it does not show."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sft

REPOSITORY = Path(__file__).parent.parent

HEAVY = ("torch", "transformers", "peft", "accelerate", "deepspeed", "numpy")
LIGHT = [
    "hugchat_tui.cli",
    "hugchat_tui.chat.screen",
    "hugchat_tui.chat_command",
    "hugchat_tui.doctor",
    "hugchat_tui.conversations.service",
    "hugchat_tui.settings.saving",
    "engine.pool",
    "engine.chat_templates.render",
    "engine.checkpoints.resolve",
    "engine.checkpoints.starter",
    "engine.checkpoints.downloads.manager",
    "engine.checkpoints.hub_queries.client",
    "engine.checkpoints.library.scan",
    "hugchat_tui.models_command",
    "hugchat_tui.models_pull",
    "hugchat_tui.sft_command",
    "sft",
]


def _loaded(module: str) -> set[str]:
    """The top-level packages that importing a module in a new process brings."""
    script = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_load_heavy_libraries(module: str) -> None:
    assert _loaded(module).isdisjoint(HEAVY)


def test_the_first_frame_waits_for_neither_the_chat_screen_nor_the_engine_nor_the_store() -> None:
    loaded = _loaded("hugchat_tui.app")
    assert loaded.isdisjoint({*HEAVY, "sqlite3", "msgspec", "markdown_it", "pygments", "jinja2", "psutil"})
    assert not any(name.startswith(("hugchat_tui.chat.screen", "engine.pool")) for name in loaded)


def test_the_light_half_of_sft_loads_none_of_what_trains() -> None:
    names = [each.name for each in pkgutil.walk_packages(sft.__path__, "sft.")]
    light = [name for name in names if not name.startswith("sft.training")]
    assert len(light) > 30
    assert _loaded(", ".join(light)).isdisjoint({*HEAVY} - {"numpy"})


def test_the_contract_names_every_light_module_of_sft() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    light = {f"sft.{path.stem}" for path in (REPOSITORY / "sft").glob("*.py")} - {"sft.__init__"} | {"sft.data"}
    for contract in contracts:
        named = {name for name in contract.get("source_modules", ()) if name.startswith("sft.")}
        assert named in (set(), light), contract["name"]
