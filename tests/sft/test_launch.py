"""The exact command of each way to start a run, and starting it detached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sft import config
from sft.config import Recipe
from sft.events import EventWriter, tail
from sft.launch import (
    LaunchCommand,
    LaunchError,
    command,
    first_host,
    kill,
    node_rank,
    rendezvous,
    slurm_script,
    start,
    starting_command,
    write_hostfile_environment,
)
from sft.runs import RunDirectory, create_run, read_status

RUN = RunDirectory(Path("/runs/trial"), "trial")
RANK = ("engine.checkpoints.children", "sft.training", "/runs/trial")


def recipe(**launch: object) -> Recipe:
    return config.with_values(Recipe(), {f"launch.{key}": value for key, value in launch.items()})


def test_one_process_is_started_as_it_is() -> None:
    alone = command(recipe(), RUN, {})
    assert alone.argv == (sys.executable, "-P", "-m", *RANK)
    assert {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}.items() <= alone.environment.items()
    assert "RANK" not in alone.environment
    assert int(alone.environment["OMP_NUM_THREADS"]) >= 1


def test_deepspeed_alone_is_told_its_rank_as_it_would_ask_for_mpi() -> None:
    alone = command(recipe(zero=1), RUN, {})
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    assert ranks.items() <= alone.environment.items()
    assert 0 < int(alone.environment["MASTER_PORT"]) < 65_536


def test_several_ranks_share_the_cores_and_go_through_torchrun() -> None:
    cores = int(command(recipe(), RUN, {}).environment["OMP_NUM_THREADS"])
    several = command(recipe(ranks=2, device="cpu"), RUN, {})
    options = ("--standalone", "--nnodes=1", "--nproc-per-node=2", "--max-restarts=0", "--shutdown-timeout=900")
    assert several.argv == (sys.executable, "-P", "-m", "torch.distributed.run", *options, "--module", *RANK)
    assert several.environment["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    assert several.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_what_the_person_set_in_the_environment_stays() -> None:
    added = command(recipe(), RUN, {"OMP_NUM_THREADS": "7", "HF_HUB_OFFLINE": "0"}).environment
    assert "OMP_NUM_THREADS" not in added
    assert added["HF_HUB_OFFLINE"] == "1"


def test_several_machines_meet_at_the_first_one() -> None:
    two = recipe(nodes=2, ranks=4, rendezvous="127.0.0.1:29500")
    argv = command(two, RUN, {"NODE_RANK": "1"}).argv
    where = ("--nnodes=2", "--node-rank=1", "--master-addr=127.0.0.1", "--master-port=29500", "--nproc-per-node=4")
    assert argv[3:9] == ("torch.distributed.run", *where)
    assert command(two, RUN, {}).environment["GLOO_SOCKET_IFNAME"] == "lo"
    assert "GLOO_SOCKET_IFNAME" not in command(two, RUN, {"GLOO_SOCKET_IFNAME": "eth9"}).environment
    assert command(recipe(nodes=2, rendezvous="[::1]:29500"), RUN, {}).argv[6] == "--master-addr=::1"
    for wrong in ("2", "-1", "first"):
        with pytest.raises(LaunchError, match="a number from 0 to 1"):
            node_rank(two, {"NODE_RANK": wrong})


def test_a_hostfile_goes_to_the_deepspeed_launcher_with_the_variables_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", "/shared/hf")
    run = RunDirectory.at(tmp_path)
    launched = command(recipe(nodes=2, ranks=8, hostfile="/etc/hosts.ds"), run, {})
    options = ("--hostfile=/etc/hosts.ds", "--num_nodes=2", "--num_gpus=8", "--no_local_rank", "--module")
    assert launched.argv[3:] == ("deepspeed.launcher.runner", *options, "sft.training", str(tmp_path))
    write_hostfile_environment(run, launched)
    path = Path(launched.environment["DS_ENV_FILE"])
    lines = path.read_text().splitlines()
    assert "HF_HOME=/shared/hf" in lines
    assert f"OMP_NUM_THREADS={launched.environment['OMP_NUM_THREADS']}" in lines


def test_slurm_gives_rank_and_meeting_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    four = recipe(nodes=4, ranks=2, rendezvous="slurm")
    inside = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "localhost,gpu[02-04]", "SLURM_NODEID": "3"}
    argv = command(four, RUN, inside).argv
    assert argv[4:8] == ("--nnodes=4", "--node-rank=3", "--master-addr=localhost", "--master-port=23456")
    with pytest.raises(LaunchError, match="sbatch"):
        rendezvous(four, {})
    with pytest.raises(LaunchError):
        starting_command(four, RUN)
    script = slurm_script(four, RUN)
    assert "#SBATCH --nodes=4\n#SBATCH --ntasks-per-node=1\n#SBATCH --gpus-per-node=2\n" in script
    assert script.splitlines()[-1] == f"srun {sys.executable} -P -m sft.supervise /runs/trial"
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "gpus" not in slurm_script(recipe(device="cpu"), RUN)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("gpu01", "gpu01"), ("gpu[01-04,07],cpu3", "gpu01"), ("a,b", "a"), ("n[3,5]x", "n3x"), ("r1-n[1-2]", "r1-n1")],
)
def test_the_first_machine_of_slurms_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_command_is_shown_as_one_would_type_it() -> None:
    shown = LaunchCommand(("python", "a b"), {"X": "1 2"}).shell()
    told = subprocess.run(["bash", "-c", f"python() {{ echo $X-$1; }}; {shown}"], check=True, capture_output=True)
    assert told.stdout == b"1 2-a b\n"


def test_a_started_run_outlives_who_started_it_and_cannot_be_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is missing, so that it ends by itself, with words."""
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    asked = config.with_values(Recipe(), {"data.sources": [{"path": str(rows)}], "model.base": "org/none"})
    run = create_run(asked, tmp_path, name="trial")
    script = f"""
from pathlib import Path
from sft import config
from sft.launch import start
from sft.runs import RunDirectory
run = RunDirectory.at(Path({str(run.path)!r}))
print(start(config.load(run.recipe), run))
"""
    started = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    launch = json.loads(run.launch.read_text())
    assert launch["pid"] == int(started.stdout)
    assert launch["argv"][-2:] == ["sft.training", str(run.path)]
    assert set(launch) == {
        *("version", "argv", "environment", "host", "boot_id", "pid", "pid_started", "started_at"),
    }
    if psutil.pid_exists(launch["pid"]):
        psutil.wait_procs([psutil.Process(launch["pid"])], timeout=60)
    status = read_status(run)
    assert status.state == "failed"
    assert "org/none" in status.words
    with EventWriter(run.events) as events:
        events.write("phase", name="starting")
    me = {"host": launch["host"], "pid": os.getpid(), "pid_started": psutil.Process().create_time()}
    run.launch.write_text(json.dumps(me))
    with pytest.raises(LaunchError, match="is going already"):
        start(asked, run)


def test_a_recipe_that_was_broken_since_is_named_when_it_is_started(tmp_path: Path) -> None:
    run = create_run(Recipe(), tmp_path, name="trial")
    run.recipe.write_text("[training]\nlearning_rate = 2\n")
    with pytest.raises(LaunchError, match=r"training\.learning_rate: 2 is above 1"):
        start(Recipe(), run)
    assert not run.launch.exists()
    assert tail(run.events).records[-1]["how"] == "failed"


def test_only_a_run_of_this_machine_that_goes_is_killed(tmp_path: Path) -> None:
    run = create_run(Recipe(), tmp_path, name="trial")
    assert not kill(run)
    run.launch.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid()}))
    assert not kill(run)
