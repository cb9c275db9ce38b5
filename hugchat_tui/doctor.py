"""`hugchat doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from engine.checkpoints.paths import data_dir, hub_cache_dir
from engine.checkpoints.starter import SPACE_NEEDED, starter_installed, starter_path
from engine.cpu import cpu_field, cpu_has_bf16
from engine.memory import GIB, ram
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import file_size, memory_size
from hugchat_tui.settings.paths import config_dir

State = Literal["ok", "warn", "problem"]

_PACKAGES = (
    "hugchat-tui",
    "textual",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "huggingface_hub",
    "tokenizers",
    "gguf",
    "pip",
)
_TOPICS = ("Versions", "Processor and memory", "Devices", "Folders", "Models", "Terminal", "Training")
_VARIABLES = {"settings": "HUGCHAT_CONFIG_DIR", "data": "HUGCHAT_DATA_DIR", "hugging face cache": "HF_HOME"}
_AROUND = {"tmux": "TMUX", "screen": "STY", "ssh": "SSH_CONNECTION"}
MIN_COLUMNS = 80
MIN_ROWS = 24
_PROBE_TIMEOUT_S = 120.0
_NVIDIA_SMI_TIMEOUT_S = 10.0
_MARKS: dict[State, str] = {"ok": "ok  ", "warn": "warn", "problem": "FAIL"}
_REINSTALL = "Install again: make setup, or pip install --force-reinstall hugchat-tui."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. todo: what to do, never empty when the state is not ok. data: for scripts."""

    topic: str
    name: str
    value: str
    state: State = "ok"
    todo: str = ""
    data: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    findings: tuple[Finding, ...]

    @property
    def state(self) -> State:
        """The worst of all findings."""
        states = {finding.state for finding in self.findings}
        return "problem" if "problem" in states else "warn" if "warn" in states else "ok"


def main(*, as_json: bool) -> int:
    """Print the report; 0, or 1 when something keeps the program from working."""
    report = collect()
    sys.stdout.write(to_json(report) if as_json else render(report))
    return 1 if report.state == "problem" else 0


def collect() -> Report:
    """Look at everything. Starts child processes that import torch and deepspeed: takes seconds."""
    with ThreadPoolExecutor() as threads:
        torch, nvidia, deepspeed = (threads.submit(look) for look in (_torch, _nvidia, _deepspeed))
        findings = [
            *_versions(),
            *_processor(),
            *_folders(),
            _starter(),
            _token(),
            *_terminal(os.environ, sys.stdout.isatty()),
            *_compiler(),
        ]
        findings += [*torch.result(), *nvidia.result(), *_unused_gpus(torch.result(), nvidia.result())]
        findings += deepspeed.result()
    return Report(tuple(sorted(findings, key=lambda finding: _TOPICS.index(finding.topic))))


def to_json(report: Report) -> str:
    document = {"state": report.state, "findings": [asdict(finding) for finding in report.findings]}
    return json.dumps(document, indent=2) + "\n"


def render(report: Report) -> str:
    """The report as text, a line a finding, with what to do below those that need it."""
    width = max((len(finding.name) for finding in report.findings), default=0)
    lines: list[str] = []
    topic = ""
    for finding in report.findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += ["", topic] if lines else [topic]
        lines.append(f"  {_MARKS[finding.state]}  {finding.name:<{width}}  {clean_line(finding.value)}")
        if finding.todo:
            lines.append(f"        {'':<{width}}  {clean_line(finding.todo)}")
    counts = {state: sum(finding.state == state for finding in report.findings) for state in _MARKS}
    if report.state == "ok":
        lines += ["", "All is well."]
    else:
        lines += ["", f"{counts['problem']} to repair, {counts['warn']} to know about."]
    return "\n".join(lines) + "\n"


def _versions() -> Iterator[Finding]:
    yield Finding("Versions", "python", f"{platform.python_version()} at {sys.executable}")
    packages = (*_PACKAGES, "deepspeed") if sys.platform == "linux" else _PACKAGES
    for package in packages:
        try:
            yield Finding("Versions", package, version(package))
        except PackageNotFoundError:
            yield Finding("Versions", package, "missing", "problem", _REINSTALL)


def _processor() -> Iterator[Finding]:
    topic = "Processor and memory"
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = cpu_field("model name") or platform.processor() or platform.machine()
    yield Finding(topic, "processor", f"{name}, {allowed} cores", data={"name": name, "cores": allowed})
    native = cpu_has_bf16()
    words = "yes" if native else "no, so models run in float32 on this processor"
    yield Finding(topic, "bfloat16 instructions", words, data={"bfloat16": native})
    memory = ram()
    words = f"{memory_size(memory.available)} free of {memory_size(memory.total)}"
    data: dict[str, object] = {"total_bytes": memory.total, "available_bytes": memory.available}
    if memory.available < GIB:
        yield Finding(topic, "memory", words, "warn", "The starter needs about 1 GiB: close other programs.", data)
    else:
        yield Finding(topic, "memory", words, data=data)


def _torch() -> list[Finding]:
    topic = "Devices"
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "engine.worker.probe"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        todo = "The machine may be overloaded, or a GPU's driver hangs: see what nvidia-smi says."
        return [Finding(topic, "torch", f"did not start within {_PROBE_TIMEOUT_S:.0f} s", "problem", todo)]
    except subprocess.CalledProcessError as error:
        return [Finding(topic, "torch", f"does not start: {_last_line(error)}", "problem", _REINSTALL)]
    seen = json.loads(answer.stdout)
    build = f"built for CUDA {seen['cuda_build']}" if seen["cuda_build"] else "built for processors alone"
    findings = [Finding(topic, "torch", f"starts, {build}, {seen['threads']} threads", data=seen)]
    for number, device in enumerate(seen["devices"]):
        kind = "bfloat16" if device["bfloat16"] else "float16"
        words = f"{device['name']}, {memory_size(device['memory_bytes'])}, {kind}"
        findings.append(Finding(topic, f"cuda:{number}", words))
    if seen["mps"]:
        findings.append(Finding(topic, "mps", "Apple GPU"))
    return findings


def _nvidia() -> list[Finding]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    topic = "Devices"
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            query,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NVIDIA_SMI_TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return [Finding(topic, "nvidia-smi", "does not answer", "warn", "The driver hangs: restart the machine.")]
    except (subprocess.CalledProcessError, OSError) as error:
        todo = "Without it models run on the processor. Install a driver that fits the kernel."
        return [Finding(topic, "nvidia-smi", f"fails: {_last_line(error)}", "warn", todo)]
    return [Finding(topic, "nvidia-smi", line.strip()) for line in answer.stdout.splitlines()]


def _unused_gpus(torch: list[Finding], nvidia: list[Finding]) -> Iterator[Finding]:
    """A GPU that the driver has and torch does not see."""
    there = any(finding.state == "ok" for finding in nvidia)
    if there and not any(finding.name.startswith("cuda:") for finding in torch):
        todo = "Models run on the processor. Install a torch that was built for this CUDA driver, or unset"
        yield Finding("Devices", "cuda", "torch does not see the GPU", "warn", f"{todo} CUDA_VISIBLE_DEVICES.")


def _deepspeed() -> list[Finding]:
    if sys.platform != "linux":
        return []
    topic, name = "Training", "deepspeed"
    try:
        subprocess.run(
            [sys.executable, "-P", "-c", "import deepspeed"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        todo = "The machine may be overloaded; chat does not need it."
        return [Finding(topic, name, f"was not imported within {_PROBE_TIMEOUT_S:.0f} s", "warn", todo)]
    except subprocess.CalledProcessError as error:
        todo = f"Chat does not need it, training on several processes does. {_REINSTALL}"
        return [Finding(topic, name, f"cannot be imported: {_last_line(error)}", "warn", todo)]
    return [Finding(topic, name, "can be imported")]


def _last_line(error: subprocess.CalledProcessError | OSError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    said = error.stderr or error.stdout or b""
    text = said if isinstance(said, str) else said.decode("utf-8", "replace")
    return (text.strip().splitlines() or [f"exit status {error.returncode}"])[-1]


def _compiler() -> Iterator[Finding]:
    # pip's ninja lies beside the interpreter, which need not be on the PATH.
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    for name, package in (("g++", "g++"), ("ninja", "ninja-build")):
        found = shutil.which(name, path=search)
        if found is None:
            todo = f"Chat does not need it; training builds an operator with it: apt install {package}."
            yield Finding("Training", name, "not found", "warn", todo)
        else:
            yield Finding("Training", name, found)


def _folders() -> Iterator[Finding]:
    for name, path in (("settings", config_dir()), ("data", data_dir()), ("hugging face cache", hub_cache_dir())):
        yield _folder(name, path)


def _folder(name: str, path: Path) -> Finding:
    """Whether a folder can be written, or made where it is to be."""
    there = next((parent for parent in (path, *path.parents) if parent.exists()), Path("/"))
    free = shutil.disk_usage(there).free
    data: dict[str, object] = {"path": str(path), "exists": there == path, "free_bytes": free}
    words = f"{path}{'' if there == path else ' (not made yet)'}, {file_size(free)} free"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        todo = f"{there} does not let you write. Give yourself access, or name another folder: {_VARIABLES[name]}."
        return Finding("Folders", name, words, "problem", todo, data)
    if free < SPACE_NEEDED:
        todo = f"Models need more room than that. Make some, or name another folder: {_VARIABLES[name]}."
        return Finding("Folders", name, words, "warn", todo, data)
    return Finding("Folders", name, words, data=data)


def _starter() -> Finding:
    installed = starter_installed(data_dir())
    words = f"at {starter_path(data_dir())}" if installed else "not installed yet; the first chat does it (93 MB)"
    return Finding("Models", "starter", words, data={"installed": installed})


def _token() -> Finding:
    """Whether there is a token for the Hub; never which."""
    file = Path(os.environ.get("HF_TOKEN_PATH") or hub_cache_dir().parent / "token").expanduser()
    where = "in HF_TOKEN" if os.environ.get("HF_TOKEN") else f"in {file}" if file.is_file() else ""
    words = where or "none; only gated and private models need one (hf auth login)"
    return Finding("Models", "hub token", words, data={"found": bool(where)})


def _terminal(environment: Mapping[str, str], attached: bool) -> Iterator[Finding]:
    """What the environment says of the terminal. attached: whether stdout is one."""
    topic = "Terminal"
    if not attached:
        yield Finding(topic, "stdout", "is no terminal, so its size and colours are not known")
        return
    kind = environment.get("TERM", "")
    program = environment.get("TERM_PROGRAM", "")
    words = " in ".join(filter(None, (kind or "TERM is not set", program)))
    if kind in ("", "dumb", "unknown"):
        todo = "The app cannot draw on it: use a terminal emulator, or set TERM=xterm-256color."
        yield Finding(topic, "kind", words, "problem", todo)
    else:
        yield Finding(topic, "kind", words)
    yield _colours(environment, kind)
    columns, rows = shutil.get_terminal_size()
    size: dict[str, object] = {"columns": columns, "rows": rows}
    if columns < MIN_COLUMNS or rows < MIN_ROWS:
        todo = f"The app is made for {MIN_COLUMNS} x {MIN_ROWS} and more: enlarge the window."
        yield Finding(topic, "size", f"{columns} x {rows}", "warn", todo, size)
    else:
        yield Finding(topic, "size", f"{columns} x {rows}", data=size)
    yield _encoding(environment)
    around = [word for word, name in _AROUND.items() if environment.get(name)]
    yield Finding(topic, "runs in", " and ".join(around) or "the terminal itself")


def _colours(environment: Mapping[str, str], kind: str) -> Finding:
    if environment.get("NO_COLOR"):
        return Finding("Terminal", "colours", "none, as NO_COLOR asks")
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return Finding("Terminal", "colours", "16 million")
    todo = "Themes look coarser. If your terminal has more colours, set COLORTERM=truecolor"
    if environment.get("TMUX"):
        todo += ', and in ~/.tmux.conf: set -as terminal-features ",*:RGB"'
    return Finding("Terminal", "colours", "256" if "256color" in kind else "16", "warn", f"{todo}.")


def _encoding(environment: Mapping[str, str]) -> Finding:
    # The first that is set counts, as in setlocale(3).
    setting = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    if "utf8" in setting.lower().replace("-", ""):
        return Finding("Terminal", "characters", setting)
    todo = "Letters beyond ASCII may show wrongly: export LANG=C.UTF-8"
    return Finding("Terminal", "characters", setting or "LANG is not set", "warn", todo)
