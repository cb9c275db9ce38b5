"""The main job: from an empty home to an answer, in the app and on the command line."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.end_to_end.environment import HUGCHAT, environment, home_with_starter
from tests.pty import PtyApp

QUESTION = "What is the capital of France?"
GREEDY = {"HUGCHAT_SAMPLING_TEMPERATURE": "0"}


def test_from_an_empty_home_the_app_installs_the_starter_and_answers(tmp_path: Path) -> None:
    """The promise of the README: one command, nothing prepared, and a real model answers."""
    with PtyApp([*HUGCHAT], size=(100, 30), env=environment(tmp_path, **GREEDY), cwd=str(tmp_path)) as app:
        assert app.wait_text(r"Ask starter anything", timeout=60), app.text()
        assert app.wait_text(r"downloading|unpacking|converting", timeout=60), app.text()
        app.send(QUESTION.encode())
        assert app.wait_text(re.escape(QUESTION)), app.text()
        app.press("enter")
        assert app.wait_text(r"\bParis\b", timeout=240), app.text()
        assert app.wait_text(r"tok/s", timeout=60), app.text()


def _chat(home: Path, *args: str, starter: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = home_with_starter(home, starter) if not (home / "data").exists() else environment(home)
    return subprocess.run(
        [*HUGCHAT, "chat", *args], env=env, cwd=home, input=stdin, capture_output=True, text=True, check=False
    )


def test_the_command_line_answers_on_stdout(tmp_path: Path, starter: Path) -> None:
    result = _chat(tmp_path, "--temperature", "0", QUESTION, starter=starter)
    assert result.returncode == 0, result.stderr
    assert "Paris" in result.stdout
    assert result.stderr == ""


def test_json_is_one_document_and_same_seed_is_same_text(tmp_path: Path, starter: Path) -> None:
    args = ("--json", "--seed", "7", "--temperature", "0.9", "--max-new-tokens", "24", "Tell me a story.")
    first, second = (json.loads(_chat(tmp_path, *args, starter=starter).stdout) for _ in range(2))
    assert first["reply"] == second["reply"]
    assert first["seed"] == 7
    assert first["new_tokens"] == 24
    assert first["reason"] == "length"


def test_a_pipe_is_read_below_the_question(tmp_path: Path, starter: Path) -> None:
    notes = "The meeting is on Thursday in Lisbon."
    with_pipe = _chat(tmp_path, "--json", "--max-new-tokens", "8", "Where?", starter=starter, stdin=notes)
    without = _chat(tmp_path, "--json", "--max-new-tokens", "8", "Where?", starter=starter)
    assert json.loads(with_pipe.stdout)["prompt_tokens"] > json.loads(without.stdout)["prompt_tokens"]


def test_failures_are_one_line_and_a_code(tmp_path: Path, starter: Path) -> None:
    nothing = _chat(tmp_path, starter=starter)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    missing = _chat(tmp_path, "--model", "./no-such-folder", "hello", starter=starter)
    assert (missing.returncode, missing.stdout) == (1, "")
    for result in (nothing, missing):
        assert len(result.stderr.strip().splitlines()) == 1
        assert result.stderr.startswith("hugchat: ")
    setting = _chat(tmp_path, "--temperature", "-1", "hello", starter=starter)
    assert setting.returncode == 2
    assert "temperature" in setting.stderr


def test_it_streams_to_a_terminal(tmp_path: Path, starter: Path) -> None:
    """The first words are on the terminal while the answer is still being written."""
    env = home_with_starter(tmp_path, starter)
    command = [*HUGCHAT, "chat", "--temperature", "0", "--max-new-tokens", "120", "Write a long story about a cat."]
    with PtyApp(command, size=(80, 24), env=env, cwd=str(tmp_path)) as app:
        assert app.wait_text(r"\w+ \w+ \w+", timeout=120), app.text()
        early = len("".join(app.text().split()))
        assert app.wait(lambda terminal: terminal.eof, timeout=120) or app.eof
        assert len("".join(app.text().split())) > 2 * early
