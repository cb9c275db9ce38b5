"""`hugchat chat` where it cannot say all: on input that is no text, a full disk, and an answer that was cut."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.end_to_end.environment import HUGCHAT, environment, home_with_starter


def _chat(
    env: dict[str, str], *arguments: str | bytes, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HUGCHAT, "chat", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_bytes_that_are_no_text_are_refused_before_anything_is_installed_for_them(tmp_path: Path) -> None:
    for arguments in ((b"caf\xe9",), ("hi", "--system", b"\xff")):
        done = _chat(environment(tmp_path), *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "hugchat: what was asked on the command line is not UTF-8 text.\n"
    assert not (tmp_path / "data").exists()


def test_an_answer_that_cannot_be_written_is_one_line_and_a_code(tmp_path: Path, starter: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _chat(home_with_starter(tmp_path, starter), "hi", "--max-new-tokens", "2", stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "hugchat: the answer could not be written: No space left on device.\n"


def test_an_answer_that_was_cut_says_so_beside_it(tmp_path: Path, starter: Path) -> None:
    done = _chat(
        home_with_starter(tmp_path, starter),
        "Write a long story about a lighthouse keeper.",
        "--max-new-tokens",
        "5",
        "--temperature",
        "0",
    )
    assert done.returncode == 0 and done.stdout.strip()
    assert done.stderr == "hugchat: the answer ends here after 5 tokens. For more: --max-new-tokens\n"
