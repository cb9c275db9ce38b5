"""`hugchat models`, run as the shell runs it, on a real cache and a Hub on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.checkpoints.downloads.job import Job
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.library.rows import Row
from hugchat_tui.cli import main
from hugchat_tui.models_text import download_line, rows_table
from tests.checkpoints.builders import make_adapter, make_cached, make_model, model_files
from tests.hub_api import Facts
from tests.hub_server import HubServer, Request

REPO = "models--org--model"


@pytest.fixture(autouse=True)
def data(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without settings whose folders lie below tmp_path."""
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HUGCHAT_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub"


def _models(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    code = main(["models", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def _du(directory: Path) -> int:
    return int(subprocess.run(["du", "-sB1", directory], check=True, capture_output=True, text=True).stdout.split()[0])


def test_search_pull_ls_show_verify_and_rm(hub: HubServer, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _models(capsys, "search", "model")
    assert code == 0
    assert "org/model" in out

    code, out, err = _models(capsys, "pull", "org/model", "--json")
    pulled = json.loads(out)
    assert (code, pulled["reference"], pulled["commit"]) == (0, "org/model", hub.repositories["org/model"].commit)
    assert Path(pulled["path"]).is_relative_to(cache)
    assert "downloading" in err or "done" in err

    code, out, _ = _models(capsys, "ls", "--json")
    assert (code, [row["name"] for row in json.loads(out) if row["kind"] == "model"]) == (0, ["org/model"])
    code, out, _ = _models(capsys, "show", "org/model")
    assert code == 0
    assert "model.safetensors" in out and "# Card" in out
    code, out, _ = _models(capsys, "verify", "org/model")
    assert code == 0
    assert "4 files compared, all as they should be" in out

    before = _du(cache)
    code, out, _ = _models(capsys, "rm", "org/model", "--yes", "--json")
    assert (code, json.loads(out)["freed_bytes"]) == (0, before - _du(cache))
    assert not (cache / REPO).exists()


def test_a_damaged_file_is_found_without_a_network(
    hub: HubServer, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _models(capsys, "pull", "org/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    weights = next(cache.glob(f"{REPO}/snapshots/*/model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    hub.requests.clear()
    code, out, _ = _models(capsys, "verify", "--json")
    [checked] = json.loads(out)
    assert (code, checked["ok"], hub.requests) == (1, False, [])
    assert "model.safetensors" in checked["result"]["problems"][0]


def test_nothing_is_deleted_without_a_yes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _models(capsys, "pull", "org/model")
    code, out, err = _models(capsys, "rm", "org/model")
    assert (code, out) == (2, "")
    assert "--yes" in err and "frees" in err
    assert (cache / REPO).exists()


def test_rm_names_the_adapter_that_loses_its_base(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    _models(capsys, "pull", "org/model")
    make_adapter(data / "runs" / "mine" / "final", "org/model")
    code, out, _ = _models(capsys, "rm", "org/model", "--yes", "--json")
    assert (code, json.loads(out)["broken"]) == (0, ["runs/mine"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "org/modle"), "Nearest: org/model"),
        (("pull", "not a reference"), "no Hub reference"),
        (("merge", "org/model", "new"), "is no adapter"),
    ],
)
def test_what_was_asked_wrongly_is_told(
    cache: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    make_model(make_cached(cache, "org/model"))
    code, out, err = _models(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_a_name_that_two_things_have_is_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("one", "two"):
        make_model(tmp_path / place / "same")
    folders = json.dumps([str(tmp_path / "one"), str(tmp_path / "two")])
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text(f"[model]\nfolders = {folders}\n")
    code, _, err = _models(capsys, "show", "same")
    assert code == 2
    assert str(tmp_path / "one" / "same") in err and str(tmp_path / "two" / "same") in err
    assert _models(capsys, "show", str(tmp_path / "two" / "same"))[0] == 0


def test_a_failed_pull_says_why_and_exits_with_1(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/gated", {"config.json": b"{}", "model.safetensors": b"x"}, gated=True, access=frozenset())
    code, out, err = _models(capsys, "pull", "org/gated")
    assert (code, out) == (1, "")
    assert "gated" in err and f"{hub.url}/org/gated" in err


def test_pickles_come_with_the_word_of_a_better_revision_or_of_convert(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = model_files(tmp_path)
    del files["model.safetensors"]
    hub.add("org/old", files)
    code, _, err = _models(capsys, "pull", "org/old")
    assert code == 0
    assert "pickles" in err and "hugchat models convert" in err


def test_text_from_outside_cannot_speak_to_the_terminal(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = make_model(make_cached(cache, "org/model"))
    (snapshot / "README.md").write_text("card \x1b]52;c;ZXZpbA==\x07 end")
    (snapshot / "a\x1b[31mname.json").write_text("{}")
    code, out, _ = _models(capsys, "show", "org/model")
    assert code == 0
    assert "\x1b" not in out and "card" in out


def test_interrupting_a_pull_pauses_it_and_the_same_command_goes_on(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("org/model", model_files(tmp_path, weights=20_000_000))
    halfway, opened = threading.Event(), threading.Event()

    def block_halfway(request: Request) -> None:
        if sum(each.sent for each in list(hub.requests)) >= 20_000_000:
            halfway.set()
            opened.wait()

    hub.before_chunk = block_halfway
    command = [sys.executable, "-m", "hugchat_tui", "models", "pull", "org/model"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert halfway.wait(60)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    opened.set()
    assert (process.returncode, out) == (130, "")
    assert "The same command goes on." in err
    code, out, _ = _models(capsys, "pull", "org/model")
    assert code == 0
    sent = sum(request.sent for request in hub.requests if request.path.startswith("/storage/"))
    assert sent <= 1.2 * 40_000_000


def test_a_detached_pull_returns_at_once_and_goes_on(
    hub: HubServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = threading.Event()

    def wait(request: Request) -> None:
        opened.wait()

    hub.before_chunk = wait
    code, _, _ = _models(capsys, "pull", "org/model", "--detach")
    assert code == 0
    assert not (cache / REPO / "refs").exists()
    opened.set()
    assert _models(capsys, "pull", "org/model")[0] == 0
    storage = [request for request in hub.requests if request.path.startswith("/storage/")]
    assert len(storage) == 1, "the second one watched the first"


def test_a_detached_pull_that_could_not_be_started_says_so(
    cache: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Job.of(data, HubReference("org/model"), cache).log_path
    log.mkdir(parents=True)  # where a file should be
    code, out, err = _models(capsys, "pull", "org/model", "--detach")
    assert (code, out) == (1, "")
    assert "could not be started: Is a directory" in err and "try again" in err


def test_a_revision_that_is_no_name_is_asked_wrongly(capsys: pytest.CaptureFixture[str]) -> None:
    """It would be a path, and lead out of the cache."""
    for revision in ("/etc/passwd", "../x", "a/../../x"):
        code, out, err = _models(capsys, "pull", f"org/model@{revision}")
        assert (code, out, "no Hub reference" in err) == (2, "", True)


def test_what_a_repository_calls_its_files_cannot_speak_to_the_terminal(
    hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("org/quants", {"a\x1b]52;c;ZXZpbA==\x07.gguf": b"GGUF"})
    code, _, err = _models(capsys, "pull", "org/quants")
    assert code == 1
    assert "a␛]52" in err and "\x1b" not in err


def test_the_line_of_a_download_is_one_line_that_a_terminal_obeys_in_nothing() -> None:
    status = Status(id="x", repo_id="org/model", state="failed", done=1, total=2, message="evil\x1b[31m\nname arrived")
    assert download_line(status) == "failed · 50 % of 2 B · evil␛[31m↵name arrived"


def test_an_export_is_a_folder_of_real_files(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _models(capsys, "pull", "org/model")
    code, out, _ = _models(capsys, "export", "org/model", str(tmp_path / "copy"))
    assert (code, out.strip()) == (0, str(tmp_path / "copy"))
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())
    assert _models(capsys, "export", "org/model", str(tmp_path / "copy"))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "exit_code", "kind"),
    [
        (("show", "org/modle"), 2, "asked-wrongly"),
        (("rm", "org/model"), 2, "asked-wrongly"),
        (("convert", "org/model", "new"), 2, "asked-wrongly"),
        (("pull", "org/none"), 1, None),
        (("export", "org/model", "/proc/nowhere/x"), 1, "export"),
    ],
)
def test_a_failure_is_a_json_document_too(
    hub: HubServer,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    exit_code: int,
    kind: str | None,
) -> None:
    """Stdout was empty, which no program can read."""
    make_model(make_cached(cache, "org/model"))
    code, out, err = _models(capsys, *arguments, "--json")
    error = json.loads(out)["error"]
    assert code == exit_code and set(error) == {"code", "message", "hint"} and error["message"]
    assert kind is None or error["code"] == kind
    assert err.startswith("hugchat: ") and "Nobody can be asked" not in err


def test_both_kinds_of_search_have_one_shape_and_options_without_words_ask_the_hub(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--kind gguf without words was ignored, and the curated list shown in its place."""
    hub.add("org/quants", {"a.gguf": b"GGUF"}, facts=Facts(library="gguf", tags=("gguf",), gguf_parameters=1000))
    found = json.loads(_models(capsys, "search", "model", "--json")[1])
    offered = json.loads(_models(capsys, "search", "--json")[1])
    assert found[0].keys() == offered[0].keys()
    assert {type(each["gated"]) for each in (*found, *offered)} == {bool}
    assert not hub.requests or len(offered) > 3
    everything = json.loads(_models(capsys, "search", "--kind", "gguf", "--json")[1])
    assert [each["id"] for each in everything] == ["org/quants"]


def test_what_is_not_understood_is_told_with_the_usage_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (("ls", "--nonsense"), "usage: hugchat models ls"),
        (("search", "--limit", "0"), "'0' is no number from 1 on"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["models", *arguments])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_what_is_not_here_but_may_be_on_the_hub_is_said_to_be_fetched_there(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = _models(capsys, "show", "org/elsewhere")
    assert code == 2 and "hugchat models pull org/elsewhere" in err


@pytest.mark.parametrize("width", [60, 80, 100, 200, None])
def test_a_table_fits_the_terminal_and_a_pipe_gets_all_of_it(width: int | None) -> None:
    names = ["org/" + "very-long-model-name-" * 4 + "instruct", "org/short"]
    rows = [Row(key=name, name=name, kind="broken", source="cache", problem="words " * 30) for name in names]
    lines = rows_table(rows, width).splitlines()
    if width is None:
        assert names[0] in lines[1] and lines[1].endswith("words")
        return
    assert max(map(len, lines)) <= width
    assert "…" in lines[1] and lines[1].partition("  ")[0].endswith("instruct"), "a name keeps its end"
    assert lines[2].startswith("org/short ")


def test_what_goes_on_working_without_its_origin_is_not_called_broken(
    cache: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_model(make_cached(cache, "org/model"))
    made = make_model(data / "models" / "merged")
    origin = [{"name": "org/model", "path": str(base), "revision": ""}]
    (made / "hugchat.json").write_text(json.dumps({"made": "merge", "from": origin, "at": "", "version": ""}))
    code, _, err = _models(capsys, "rm", "org/model")
    assert code == 2
    assert "keeps merged, made from it: it goes on working" in err and "breaks" not in err
