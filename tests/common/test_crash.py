"""What is left of an error that nobody expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from hugchat_tui import cli
from hugchat_tui.common.crash import report

SECRET = "hf_" + "x" * 30


def _failing(words: str) -> Exception:
    token = SECRET
    try:
        raise ValueError(words) from KeyError("cause")
    except ValueError as error:
        assert token
        return error


def test_a_crash_is_one_clean_line_and_a_private_log_without_the_values_of_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path / "data"))
    line = report(_failing("\x1b]52;c;eA==\x07 two\nlines \udc80" + "y" * 1000))
    (log,) = (tmp_path / "data" / "logs").iterdir()
    text = log.read_text(encoding="utf-8")
    assert str(log) in line and "ValueError" in line and "[cut, " in line
    assert not any(character in line for character in "\x1b\x07\n\udc80")
    assert "KeyError: 'cause'" in text and "in _failing" in text and r"\udc80" in text
    assert "token = SECRET" not in text and SECRET not in text
    assert log.stat().st_mode & 0o077 == 0
    report(_failing("again"))
    assert len(list(log.parent.iterdir())) == 2


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").write_text("in the way")
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path))
    assert "could not be written to a log" in report(_failing("x"))


@pytest.mark.parametrize(("raised", "code"), [(RuntimeError("by surprise"), 1), (KeyboardInterrupt(), 130)])
def test_no_command_ends_with_a_traceback_on_the_terminal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
) -> None:
    def fail(*, as_json: bool) -> int:
        raise raised

    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("hugchat_tui.doctor.main", fail)
    assert cli.main(["doctor"]) == code
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert ("by surprise" in said.err) == (code == 1)
    assert len(said.err.splitlines()) == (1 if code == 1 else 0)
