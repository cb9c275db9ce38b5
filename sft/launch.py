"""The exact command that starts a run's ranks, and starting it detached.

    one process              python -m engine.checkpoints.children sft.training RUN
    several on one machine   python -m torch.distributed.run --standalone --nproc-per-node=N --module ... RUN
    several machines         the same command on each, with --node-rank from NODE_RANK or SLURM_NODEID, and the static
                             rendezvous at the address that launch.rendezvous names: rank 0 is on machine 0
    DeepSpeed hostfile       python -m deepspeed.launcher.runner --hostfile FILE --module sft.training RUN
    Slurm                    a batch script whose srun starts the supervisor once a machine

Whoever starts a run starts sft.supervise, which prepares the data and then starts this command. Through
engine.checkpoints.children every rank on its machine ends when the supervisor does, however that ends: ranks that
nobody watches would go on writing while the run is resumed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from engine.checkpoints.library.running import run_is_going
from engine.checkpoints.reading import UnreadableError, read_json_object
from sft.config import Recipe
from sft.errors import SftError
from sft.events import tail
from sft.recipe_text import write_whole
from sft.runs import RunDirectory, events_size, read_status

EXIT_BUSY = 3
STOP_GRACE_S = 60  # what ranks that were told to stop get until they save
SAVE_GRACE_S = 900  # and for a checkpoint that they have begun to write

_MODULE = "sft.training"
_ENDING_WITH_PARENT = "engine.checkpoints.children"
_PYTHON = (sys.executable, "-P", "-m")
_POLL_S = 0.05
# A hostfile's other machines get these of ours besides what is added.
_CARRIED = ("HUGCHAT_DATA_DIR", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR")
_SLURM_PORTS = range(20_000, 40_000)


class LaunchError(SftError):
    """A run could not be started."""

    code = "launch"


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """environment: what is added to the environment of whoever starts it."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def shell(self) -> str:
        """As one would type it."""
        additions = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*additions, shlex.join(self.argv)])


def command(recipe: Recipe, run: RunDirectory, environment: Mapping[str, str] | None = None) -> LaunchCommand:
    """What starts the ranks on this machine. environment: ours, unless another is given.

    A variable that the person set stays as it is. Raises LaunchError where a rendezvous needs Slurm's variables.
    """
    ours = os.environ if environment is None else environment
    launch = recipe.launch
    additions = _additions(recipe, ours)
    target: tuple[str, ...] = (_MODULE, str(run.path))
    where: tuple[str, ...]
    if launch.hostfile:
        additions["DS_ENV_FILE"] = str(run.path / "deepspeed.env")
        nodes = f"--num_nodes={launch.nodes}"
        where = (f"--hostfile={launch.hostfile}", nodes, f"--num_gpus={launch.ranks}", "--no_local_rank", "--module")
        # Over ssh there is no standard input that could end.
        return LaunchCommand((*_PYTHON, "deepspeed.launcher.runner", *where, *target), additions)
    target = (_ENDING_WITH_PARENT, *target)
    if recipe.world_size == 1:
        if recipe.engine != "plain":
            # DeepSpeed asks for MPI where nobody says which rank it is.
            alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
            additions |= {**alone, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        return LaunchCommand((*_PYTHON, *target), additions)
    options = (f"--nproc-per-node={launch.ranks}", "--max-restarts=0", f"--shutdown-timeout={SAVE_GRACE_S}", "--module")
    if launch.nodes == 1:
        where = ("--standalone", "--nnodes=1")
    else:
        host, port = rendezvous(recipe, ours)
        additions |= _interface(host, ours)
        rank = f"--node-rank={node_rank(recipe, ours)}"
        where = (f"--nnodes={launch.nodes}", rank, f"--master-addr={host}", f"--master-port={port}")
    return LaunchCommand((*_PYTHON, "torch.distributed.run", *where, *options, *target), additions)


def _additions(recipe: Recipe, ours: Mapping[str, str]) -> dict[str, str]:
    additions = {
        # The deepspeed launcher sets none, and every rank would take all cores; torchrun sets 1.
        "OMP_NUM_THREADS": str(max(1, _cores() // recipe.launch.ranks)),
        "TOKENIZERS_PARALLELISM": "false",  # the ranks read tokens, they make none
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a folder that happens to be called "sft" where it is started is not what we mean
    }
    if recipe.launch.device == "cpu":
        additions["CUDA_VISIBLE_DEVICES"] = ""
    offline = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "CUDA_VISIBLE_DEVICES")
    return {name: value for name, value in additions.items() if name in offline or name not in ours}


def _cores() -> int:
    """Physical cores that we may use: two threads of one core multiply matrices no faster than one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def node_rank(recipe: Recipe, environment: Mapping[str, str] | None = None) -> int:
    """Which of the machines this one is. Raises LaunchError when NODE_RANK makes no sense."""
    ours = os.environ if environment is None else environment
    if recipe.launch.nodes == 1 or recipe.launch.hostfile:
        return 0
    text = ours.get("NODE_RANK") or ours.get("SLURM_NODEID" if recipe.launch.rendezvous == "slurm" else "", "0")
    if not text.isdecimal() or int(text) >= recipe.launch.nodes:
        raise LaunchError(
            f"NODE_RANK is {text[:20]!r}, and the recipe has {recipe.launch.nodes} machines.",
            f"Set it to a number from 0 to {recipe.launch.nodes - 1}, another one on each machine.",
        )
    return int(text)


def rendezvous(recipe: Recipe, environment: Mapping[str, str] | None = None) -> tuple[str, int]:
    """(host, port) where the machines meet: machine 0. Raises LaunchError outside of an allocation that it needs."""
    ours = os.environ if environment is None else environment
    if recipe.launch.rendezvous != "slurm":
        host, _, port = recipe.launch.rendezvous.rpartition(":")
        return host.strip("[]"), int(port)
    job, hosts = ours.get("SLURM_JOB_ID", ""), ours.get("SLURM_JOB_NODELIST", "")
    if not job.isdecimal() or not hosts:
        raise LaunchError(
            'launch.rendezvous is "slurm", and this is no Slurm allocation.',
            "Submit the script that the run holds: sbatch slurm.sh",
        )
    return first_host(hosts), _SLURM_PORTS[int(job) % len(_SLURM_PORTS)]


def first_host(hosts: str) -> str:
    """The first machine of Slurm's short list: "gpu01" of "gpu[01-04,07],cpu3"."""
    match = re.match(r"([^,\[]*)(?:\[([^\]]*)\])?([^,\[]*)", hosts)
    if match is None or not match[0]:
        return hosts
    return match[1] + re.split("[-,]", match[2])[0] + match[3] if match[2] else match[1]


def _interface(host: str, ours: Mapping[str, str]) -> dict[str, str]:
    """The network interface that leads to machine 0, for gloo and NCCL.

    They would take the one that this machine's own name resolves to, which on Debian is 127.0.1.1: no way out.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing; the kernel only chooses the way
            own = probe.getsockname()[0]
    except OSError:
        return {}
    addresses = ((name, each.address) for name, all_of in psutil.net_if_addrs().items() for each in all_of)
    name = next((name for name, address in addresses if address.partition("%")[0] == own), "")
    wanted = {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} if name else {}
    return {variable: value for variable, value in wanted.items() if variable not in ours}


def write_hostfile_environment(run: RunDirectory, launch: LaunchCommand) -> None:
    """For the deepspeed launcher, which passes hardly any variable on to other machines. Raises OSError."""
    carried = {name: value for name in _CARRIED if (value := os.environ.get(name))}
    variables = {name: value for name, value in {**carried, **launch.environment}.items() if name != "DS_ENV_FILE"}
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    write_whole(run.path / "deepspeed.env", text.encode())


def slurm_script(recipe: Recipe, run: RunDirectory) -> str:
    """A batch script for the run: one supervisor a machine. Partition and account are the person's to add."""
    launch = recipe.launch
    options = [
        f"--job-name={run.name}",
        f"--nodes={launch.nodes}",
        "--ntasks-per-node=1",
        *([] if launch.device == "cpu" else [f"--gpus-per-node={launch.ranks}"]),
        f"--signal=TERM@{2 * STOP_GRACE_S}",  # before the time is over: the ranks save, and the run can be resumed
        f"--output={run.log}",
        "--open-mode=append",
    ]
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options), ""]
    return "\n".join([*lines, f"srun {shlex.join(_supervisor(run))}", ""])


def _supervisor(run: RunDirectory) -> tuple[str, ...]:
    return *_PYTHON, "sft.supervise", str(run.path)


def starting_command(recipe: Recipe, run: RunDirectory) -> LaunchCommand:
    """What `start` starts: the supervisor, within an allocation of several machines one on each of them."""
    if recipe.launch.rendezvous != "slurm" or recipe.launch.nodes == 1:
        return LaunchCommand(_supervisor(run))
    rendezvous(recipe)
    return LaunchCommand(("srun", f"--nodes={recipe.launch.nodes}", "--ntasks-per-node=1", *_supervisor(run)))


def start(recipe: Recipe, run: RunDirectory) -> int:
    """Start the run in a session of its own, so that it outlives us; the pid of what was started.

    Returns once its launch.json names it. Raises LaunchError when it is going already or ended at once.
    """
    while run_is_going(run.path):
        if read_status(run).going:
            raise LaunchError(f"{run.name} is going already.", f"Watch it: hugchat sft tail {run.name} -f")
        time.sleep(_POLL_S)  # it told its end, and its processes are leaving; the supervisor sees to that
    starting = starting_command(recipe, run)
    before = _launched(run)
    begin = events_size(run)
    try:
        with run.log.open("ab") as log:
            child = subprocess.Popen(
                starting.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    except OSError as error:
        raise LaunchError(f"{run.name} could not be started: {error.strerror or error}.") from error
    while _launched(run) == before:
        if child.poll() is not None and _launched(run) == before:
            raise _not_started(run, child.returncode, begin)
        time.sleep(_POLL_S)
    return child.pid


def kill(run: RunDirectory) -> bool:
    """End a run of this machine at once, without a last checkpoint; False when it is none of this machine's."""
    try:
        launch = read_json_object(run.launch) or {}
    except UnreadableError:
        return False
    pid = launch.get("pid")
    if launch.get("host") != socket.gethostname() or not isinstance(pid, int) or not run_is_going(run.path):
        return False
    with suppress(ProcessLookupError):
        # Two that count as two even when they arrive together.
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    return True


def _launched(run: RunDirectory) -> tuple[object, object]:
    try:
        launch = read_json_object(run.launch) or {}
    except UnreadableError:
        launch = {}
    return launch.get("pid"), launch.get("started_at")


def _not_started(run: RunDirectory, status: int, begin: int) -> LaunchError:
    if status == EXIT_BUSY:
        return LaunchError(f"{run.name} is going already.", f"Watch it: hugchat sft tail {run.name} -f")
    end = next((record for record in tail(run.events, begin).records if record["type"] == "end"), None)
    if end is not None:
        return LaunchError(str(end.get("words", "")), str(end.get("hint", "")))
    return LaunchError(f"{run.name} ended at once with status {status}.", f"Its log says more: {run.log}")
