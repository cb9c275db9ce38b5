"""Two machines, as two network namespaces of this one: torchrun meets across them, and one of them dies."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from sft.config import Launch
from tests.sft.training.driving import Running, curve, log_of, new_run, start, tiny_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def ip(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False)


@dataclass(frozen=True)
class Hosts:
    """Names of the namespaces, and the address of the first."""

    names: tuple[str, str]
    address: str


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the ip command")
    names = f"hugchat-a-{os.getpid()}", f"hugchat-b-{os.getpid()}"
    ends = f"hca{os.getpid()}"[:15], f"hcb{os.getpid()}"[:15]
    if ip("netns", "add", names[0]).returncode:
        pytest.skip("network namespaces need root")
    try:
        ip("netns", "add", names[1])
        assert not ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1]).returncode
        for number, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
            ip("link", "set", end, "netns", name)
            for command in (
                ("addr", "add", f"10.77.5.{number}/24", "dev", end),
                ("link", "set", end, "up"),
                ("link", "set", "lo", "up"),
            ):
                assert not ip("-n", name, *command).returncode, command
        yield Hosts(names, "10.77.5.1")
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_hosts_dies_the_other_says_so_and_the_run_goes_on(hosts: Hosts, tmp_path: Path, victim: int) -> None:
    data = tmp_path / "data"
    recipe = tiny_recipe(tmp_path, steps=300, accumulation=2, every=2)
    launch = Launch(nodes=2, rendezvous=f"{hosts.address}:29577", device="cpu")
    run = new_run(msgspec.structs.replace(recipe, launch=launch), data)

    def start_both() -> list[Running]:
        return [
            start(run, data, {"NODE_RANK": str(number)}, prefix=("ip", "netns", "exec", name))
            for number, name in enumerate(hosts.names)
        ]

    running = start_both()
    running[0].until("checkpoint")
    running[victim].kill_everything()
    survivor = running[1 - victim]
    end = survivor.until("end")
    assert end["how"] == "failed" and "Another rank of this run is gone" in end["words"], end
    assert "hugchat sft resume" in end["hint"]
    assert survivor.wait() != 0
    again = start_both()
    told = again[0].until("run")
    assert (told["world_size"], told["resumed_from"] >= 2) == (2, True), log_of(run)
    again[0].until("checkpoint")
    again[0].process.terminate()
    assert again[0].until("end")["how"] == "stopped", log_of(run)
    for each in again:
        each.wait()
    assert sorted(curve(run)) == list(range(1, max(curve(run)) + 1))
