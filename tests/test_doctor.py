"""`hugchat doctor` tells what is there, what is missing and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hugchat_tui import doctor
from hugchat_tui.doctor import Finding, Report

GOOD_TERMINAL = {
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    "LANG": "en_US.UTF-8",
    "COLUMNS": "80",
    "LINES": "24",
}


def test_on_this_machine_it_prints_one_json_document_and_no_secret(tmp_path: Path) -> None:
    environment = os.environ | {"HUGCHAT_DATA_DIR": str(tmp_path / "data"), "HF_TOKEN": "hf_secret"}
    command = [sys.executable, "-m", "hugchat_tui", "doctor", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    document = json.loads(answer.stdout)
    findings = {finding["name"]: finding for finding in document["findings"]}
    assert document["state"] in ("ok", "warn")
    assert findings["torch"]["state"] == "ok"
    assert findings["deepspeed"]["value"] == "can be imported"
    assert findings["processor"]["data"]["cores"] >= 1
    assert 0 < findings["memory"]["data"]["available_bytes"] <= findings["memory"]["data"]["total_bytes"]
    assert findings["data"]["data"] | {"free_bytes": 0} == {
        "path": str(tmp_path / "data"),
        "exists": False,
        "free_bytes": 0,
    }
    assert findings["starter"]["data"] == {"installed": False}
    assert findings["hub token"]["value"] == "in HF_TOKEN"
    assert "hf_secret" not in answer.stdout + answer.stderr
    assert all(finding["todo"] for finding in document["findings"] if finding["state"] != "ok")


def test_looking_imports_nothing_heavy() -> None:
    script = "import sys, hugchat_tui.doctor; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "deepspeed", "textual", "huggingface_hub"} & set(loaded)


def _terminal(changes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    environment = {**GOOD_TERMINAL, **changes}
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, environment[name])
    return {finding.name: finding for finding in doctor._terminal(environment, True)}


def test_a_good_terminal_has_nothing_to_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.state for finding in _terminal({}, monkeypatch).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "name", "state", "words"),
    [
        ({"TERM": ""}, "kind", "problem", "TERM=xterm-256color"),
        ({"TERM": "dumb"}, "kind", "problem", "TERM=xterm-256color"),
        ({"COLORTERM": ""}, "colours", "warn", "COLORTERM=truecolor"),
        ({"COLORTERM": "", "TMUX": "/tmp/x"}, "colours", "warn", "tmux.conf"),
        ({"COLUMNS": "79"}, "size", "warn", "80 x 24"),
        ({"LC_ALL": "C"}, "characters", "warn", "LANG=C.UTF-8"),
        ({"LC_ALL": "de_DE.utf8", "LANG": ""}, "characters", "ok", ""),
        ({"COLORTERM": "", "NO_COLOR": "1"}, "colours", "ok", ""),
    ],
)
def test_what_is_wrong_with_a_terminal_comes_with_what_to_do(
    changes: dict[str, str], name: str, state: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = _terminal(changes, monkeypatch)[name]
    assert finding.state == state
    assert words in finding.todo


def test_a_folder_that_cannot_be_made_is_a_problem_with_the_variable_that_moves_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert doctor._folder("data", tmp_path / "new" / "one").state == "ok"
    blocked = doctor._folder("data", tmp_path / "file" / "below")
    assert blocked.state == "problem"
    assert "HUGCHAT_DATA_DIR" in blocked.todo


def test_a_missing_package_makes_it_exit_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package",))
    monkeypatch.setattr(sys, "executable", "/bin/false")  # and no child can start
    assert doctor.main(as_json=False) == 1
    shown = capsys.readouterr().out
    assert "FAIL  no-such-package" in shown
    assert "FAIL  torch" in shown
    assert "does not start: exit status 1" in shown


def _program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_gpu_that_torch_does_not_see_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "bin", "nvidia-smi", "echo 'NVIDIA H100, 81559 MiB, 580.1'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = doctor._nvidia()
    assert [finding.value for finding in found] == ["NVIDIA H100, 81559 MiB, 580.1"]
    blind = [Finding("Devices", "torch", "starts")]
    assert [finding.state for finding in doctor._unused_gpus(blind, found)] == ["warn"]
    assert not list(doctor._unused_gpus([*blind, Finding("Devices", "cuda:0", "NVIDIA H100")], found))


def test_a_driver_that_fails_is_told_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "bin", "nvidia-smi", "echo 'driver mismatch' >&2; exit 9")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (finding,) = doctor._nvidia()
    assert (finding.state, finding.value) == ("warn", "fails: driver mismatch")


def test_text_from_outside_cannot_reach_the_terminal_as_a_command() -> None:
    text = doctor.render(Report((Finding("Devices", "gpu", "\x1b]52;c;aGk=\x07", "warn", "do \x1b[31mthis"),)))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "0 to repair, 1 to know about." in text
