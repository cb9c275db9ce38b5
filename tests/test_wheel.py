"""The wheel holds everything: built, installed into an environment of its own, and started from there."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pty import PtyApp

PIP = (sys.executable, "-m", "pip")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("hugchat_tui-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel; the libraries beneath it come from this one's site-packages.

    A path named in a .pth file is searched, but the .pth files inside it are not read: the checkout that is installed
    there as editable stays out.
    """
    environment = tmp_path_factory.mktemp("elsewhere") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
    )
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "libraries.pth").write_text(site.getsitepackages()[0] + "\n")
    return environment / "bin"


def _run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=True, timeout=120)


def test_the_wheel_carries_themes_templates_and_styles(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "engine/chat_templates/hugchat.jinja" in names
    assert "engine/checkpoints/hub_queries/catalogue.toml" in names
    assert "hugchat_tui/chat/screen.tcss" in names
    assert sum(name.startswith("hugchat_tui/themes/") and name.endswith(".toml") for name in names) >= 6
    assert sum(name.startswith("sft/recipes/") and name.endswith(".toml") for name in names) >= 15
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_installed_program_is_the_wheels_and_answers(installed: Path, tmp_path: Path) -> None:
    where = "import hugchat_tui, engine, sft; print(hugchat_tui.__file__, engine.__file__, sft.__file__)"
    files = _run([str(installed / "python"), "-c", where], tmp_path).stdout.split()
    assert all(str(installed.parent) in file for file in files)
    assert _run([str(installed / "hugchat"), "--version"], tmp_path).stdout.startswith("hugchat ")
    report = json.loads(_run([str(installed / "python"), "-m", "hugchat_tui", "doctor", "--json"], tmp_path).stdout)
    assert report


def test_the_installed_app_paints_its_screen(installed: Path, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PIP_NO_INDEX": "1", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    with PtyApp([str(installed / "hugchat")], size=(80, 24), env=env, cwd=str(tmp_path)) as app:
        assert app.wait_text("Ask .* anything", timeout=60) is not None, app.text()
