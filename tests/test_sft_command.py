"""`hugchat sft`, run as the shell runs it, over real data and a tiny model that is really trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.checkpoints.describe import describe
from hugchat_tui.cli import main
from hugchat_tui.sft_text import event_line
from sft import config
from sft.config import Recipe
from sft.events import EventWriter, tail
from sft.runs import RunDirectory, create_run, find_run, read_status
from tests.engine.tiny_models import CHATML, make_checkpoint

ESCAPE = "\x1b]52;c;ZXZpbA==\x07"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without settings whose folders lie below tmp_path."""
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HUGCHAT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("SLURM_JOB_ID", "NODE_RANK", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"What is {n}?", "input": "", "output": f"It is number {n}."} for n in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "tiny", "llama", chat_template=CHATML)


def sft(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    try:
        code = main(["sft", *map(str, arguments)])
    except SystemExit as left:  # argparse's own refusals
        code = int(str(left.code))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_run_from_flags_alone_is_trained_watched_and_used(
    rows: Path, base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags: list[str | Path] = [
        "--model",
        base,
        "--data",
        rows,
        "--output",
        tmp_path / "out",
        "--lora_dim=4",
        "--max_steps",
        "2",
    ]
    more = ["--max_seq_length=64", "--gradient_accumulation_steps=1", "--wait", "--json"]
    code, out, err = sft(capsys, "run", *flags, *more)
    assert code == 0, err
    ended = json.loads(out)
    assert (ended["name"], ended["how"], ended["final"]) == ("out", "done", str(tmp_path / "out" / "final"))
    assert "step 2" in err
    assert "preparing data" in err
    recipe = config.load(tmp_path / "out" / "recipe.toml")
    assert (recipe.method.rank, recipe.training.max_steps) == (4, 2)
    assert recipe.data.sources[0].path == str(rows)

    code, out, _ = sft(capsys, "ls", "--json")
    assert [(run["name"], run["state"], run["step"], run["resumable"]) for run in json.loads(out)] == [
        ("out", "done", 2, False)
    ]
    code, out, _ = sft(capsys, "show", "out")
    assert code == 0
    assert "hugchat chat --model runs/out" in out
    code, out, _ = sft(capsys, "tail", "runs/out", "-f")
    assert code == 0
    assert out.splitlines()[-1].endswith("done at step 2")
    code, _, err = sft(capsys, "resume", "out")
    assert (code, "is done" in err) == (1, True)
    code, _, err = sft(capsys, "stop", "out")
    assert (code, "is not going" in err) == (1, True)

    code, out, err = sft(capsys, "export", "out", tmp_path / "copy", "--json")
    assert code == 0, err
    assert describe(tmp_path / "copy").adapter_rank == 4
    code, out, err = sft(capsys, "merge", "out", "merged", "--json")
    assert code == 0, err
    assert describe(Path(json.loads(out)["path"])).kind == "model"


def niceness(run: RunDirectory) -> list[int]:
    """Of the supervisor and of the ranks, as the scheduler compares it with other programs'."""
    supervisor = psutil.Process(json.loads(run.launch.read_text())["pid"])
    groups = Path("/proc/self/autogroup").exists()
    return [
        int(Path(f"/proc/{each.pid}/autogroup").read_text().split()[-1]) if groups else each.nice()
        for each in (supervisor, *supervisor.children(recursive=True))
    ]


def test_a_run_is_stopped_and_goes_on(rows: Path, base: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags: list[str | Path] = [
        "--model",
        base,
        "--data",
        rows,
        "--name",
        "long",
        "--max_steps",
        "100000",
        "--max_seq_length",
        "64",
    ]
    code, out, err = sft(capsys, "run", *flags)
    assert (code, out) == (0, "long has started. Watch it: hugchat sft tail long -f\n"), err
    run = find_run(data, "long")
    code, _, err = sft(capsys, "run", *flags)
    assert (code, "There is a run long already" in err) == (1, True)
    code, _, err = sft(capsys, "resume", "long")
    assert (code, "is going already" in err) == (1, True)
    while not any(record["type"] == "step" for record in tail(run.events).records):
        assert read_status(run).going, run.log.read_text()
    assert set(niceness(run)) == {max(10, os.nice(0))}, "all of it stands back for whoever chats meanwhile"
    code, out, err = sft(capsys, "stop", "long", "--wait", "--json")
    assert (code, json.loads(out)["how"]) == (0, "stopped"), err
    stopped = read_status(run)
    assert (stopped.state, stopped.resumable) == ("stopped", True)

    code, _, err = sft(capsys, "resume", "long")
    assert (code, f"It goes on from step {stopped.step}" in err) == (0, True)
    code, out, _ = sft(capsys, "stop", "long", "--now", "--wait", "--json")
    assert json.loads(out)["how"] in ("killed", "stopped")
    assert not read_status(run).going


def test_the_dry_run_prints_the_command_and_the_memory_and_starts_nothing(
    rows: Path, base: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model", base, "--data", rows, "--name", "plan", "--max_seq_length", "128")
    code, out, _ = sft(capsys, "run", *flags, "--nproc_per_node", "2", "--no_cuda", "--dry-run")
    assert code == 0
    assert "torch.distributed.run --standalone --nnodes=1 --nproc-per-node=2" in out
    assert "activations" in out
    code, out, _ = sft(capsys, "run", *flags, "--dry-run", "--json")
    document = json.loads(out)
    assert document["commands"]["ranks"]["argv"][-2:] == ["sft.training", str(data / "runs" / "plan")]
    assert document["estimate"]["fits"]
    code, out, _ = sft(
        capsys, "run", *flags, "--dry-run", "--per_device_train_batch_size", "65536", "--set", "data.max_length=256"
    )
    assert code == 1
    assert "It would not fit" in out
    assert not (data / "runs").exists()


def test_slurm_gets_a_script(rows: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slurm = ("--set", "launch.rendezvous=slurm", "--nnodes", "2", "--name", "far", "--max_seq_length=64")
    code, out, err = sft(capsys, "run", "--model", base, "--data", rows, *slurm, "--json")
    assert code == 0, err
    script = Path(json.loads(out)["script"])
    assert "srun" in script.read_text()
    assert read_status(find_run(script.parent.parent.parent, "far")).state == "created"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--lerning_rate", "1"], "did you mean --learning_rate?"),
        (["run", "--data", "rows.jsonl", "--learning_rate", "2"], "training.learning_rate: 2.0 is above 1"),
        (["run"], "data.sources: is empty"),
        (["run", "nothere.toml"], "there is no file nothere.toml"),
        (["run", "starter", "--set", "nonsense"], "KEY=VALUE"),
        (["run", "starter", "--set", "training.nonsense=1"], "training.nonsense: there is no such key"),
        (["run", "--do_predict", "--data=rows.jsonl"], "--do_predict: answers are written by"),
        (["show", "nothere"], "No run is called"),
        (["init"], "Name a checkpoint or a recipe"),
        (["tail", "trial", "-f", "--json"], "use one of them"),
        (["data", "build", "rows.jsonl"], "--out"),
        (["data", "stats"], "Name data"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_what_is_asked_wrongly_is_said_with_exit_code_2(
    rows: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    create_run(Recipe(), data, name="trial")
    code, out, err = sft(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_everything_that_is_wrong_is_said_at_once(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("--learning_rate=2", "--ema", "--max_steps=x", "--set", "launch.zero=9")
    code, _, err = sft(capsys, "run", "--data", rows, *wrong)
    assert code == 2
    for place in ("training.learning_rate", "--ema", "--max_steps", "launch.zero"):
        assert f"  {place}: " in err


def test_what_is_not_here_fails_with_what_to_do(rows: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = sft(capsys, "run", "--model", "org/none", "--data", rows)
    assert (code, "hugchat models pull org/none" in err) == (1, True)
    code, _, err = sft(capsys, "run", "--model", base, "--data", "none.jsonl", "--max_seq_length=64")
    assert (code, "none.jsonl" in err) == (1, True)
    code, _, err = sft(capsys, "run", "--model", base, "--data", rows)
    assert (code, "data.max_length: 512 is more than the 256 tokens" in err) == (2, True)
    code, _, err = sft(capsys, "run", "--model", base, "--data", rows, "--max_seq_length=64", "--fp16")
    assert (code, "model.dtype: float16 is for GPUs" in err) == (2, True)


def test_a_recipe_is_written_checked_and_changed(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = sft(capsys, "init", "--list", "--json")
    assert (code, len(json.loads(out))) == (0, 17)
    code, out, _ = sft(capsys, "init", "opt-1.3b", "mine.toml", "--data", rows)
    assert code == 0
    recipe = config.load(Path("mine.toml"))
    assert (recipe.model.base, recipe.method.rank) == ("facebook/opt-1.3b", 8)
    assert sft(capsys, "init", "gpt2", "mine.toml")[0] == 2  # never written over
    assert sft(capsys, "check", "mine.toml")[:2] == (0, "The recipe is in order.\n")
    Path("mine.toml").write_text(Path("mine.toml").read_text().replace("rank = 8", 'rank = "eight"'))
    code, out, _ = sft(capsys, "check", "mine.toml", "--json")
    assert (code, json.loads(out)["problems"][0]["place"]) == (2, "method.rank")
    code, out, _ = sft(capsys, "init", "org/other")
    assert (code, config.parse(out).model.base) == (0, "org/other")


def test_data_is_listed_counted_shown_and_built(
    rows: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "sharegpt" in sft(capsys, "data", "formats")[1]
    corpora = json.loads(sft(capsys, "data", "corpora", "--json")[1])
    assert {"alpaca", "medmcqa", "oig"} <= {each["name"] for each in corpora}
    with rows.open("a") as file:
        file.write("nonsense\n" + json.dumps({"instruction": f"Say {ESCAPE}", "output": "No."}) + "\n")
    code, out, _ = sft(capsys, "data", "stats", rows, "--model", base, "--max-length", "64")
    assert code == 0
    assert "42 rows: 41 documents" in out
    assert "rows.jsonl, line 41" in out
    code, out, _ = sft(capsys, "data", "preview", rows, "--model", base, "-n", "41", "--max-length", "64")
    assert code == 0
    assert "⟦It is number 0." in out
    assert "\x1b" not in out
    code, out, err = sft(capsys, "data", "build", rows, "--out", tmp_path / "mix.jsonl", "--bad-share", "0.5", "--json")
    assert (code, json.loads(out)) == (0, {str(tmp_path / "mix.jsonl"): 41})
    assert "line 41" in err
    code, _, err = sft(capsys, "data", "build", rows, "--out", tmp_path / "none.jsonl")
    assert (code, "cannot be used" in err, (tmp_path / "none.jsonl").exists()) == (1, True, False)


def test_events_are_shown_in_words_and_no_text_of_a_run_reaches_the_terminal(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create_run(Recipe(), data, name="trial")
    with EventWriter(run.events) as events:
        events.write("run", name="trial", dtype="float32", device="cpu", engine="plain", world_size=1, version=9)
        for step in range(30):
            events.write("step", step=step, loss=float("nan"), learning_rate=1e-4, grad_norm=1.0, tokens_per_s=12.5)
        events.write("sample", step=1, prompt=ESCAPE, answer=f"one\n{ESCAPE}", index=0)
        events.write("alert", kind=ESCAPE, words=ESCAPE, step=1)
        events.write(ESCAPE, words=ESCAPE)
        events.write("end", how="failed", step=1, words=ESCAPE, hint=ESCAPE)
    run.log.write_text(f"{ESCAPE}\n" * 3)
    code, out, _ = sft(capsys, "tail", "trial", "-n", "50")
    assert code == 0
    assert "loss not finite" in out
    assert out.count("step 2") >= 1
    for shown in (out, *(sft(capsys, *words)[1] for words in (("tail", "trial", "--log"), ("show", "trial"), ("ls",)))):
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert shown
    code, out, _ = sft(capsys, "tail", "trial", "-n", "3", "--json")
    assert [each["type"] for each in json.loads(out)["events"]] == ["alert", ESCAPE, "end"]


@pytest.mark.parametrize("kind", ["run", "phase", "step", "eval", "sample", "checkpoint", "ack", "alert", "heartbeat"])
def test_an_event_without_its_fields_is_shown_all_the_same(kind: str) -> None:
    assert event_line({"type": kind, "time": 0})
    assert event_line({"type": kind, "time": 0, "step": [], "loss": {}, "words": 5, "done": "x", "total": -1})


def test_waiting_can_be_left_and_the_run_goes_on(rows: Path, base: Path, data: Path) -> None:
    flags: list[str | Path] = [
        "--model",
        base,
        "--data",
        rows,
        "--name",
        "long",
        "--max_steps",
        "100000",
        "--max_seq_length",
        "64",
    ]
    waiting = subprocess.Popen(
        [sys.executable, "-m", "hugchat_tui", "sft", "run", *map(str, flags), "--wait"],
        stderr=subprocess.PIPE,
        env=os.environ,
        cwd=Path(__file__).parent.parent,
    )
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if b"preparing data" in line:
            break
    waiting.send_signal(signal.SIGINT)
    assert b"goes on by itself" in waiting.stderr.read()
    assert waiting.wait() == 130
    run = find_run(data, "long")
    assert read_status(run).going
    pid = json.loads(run.launch.read_text())["pid"]
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    while read_status(run).going:
        pass
