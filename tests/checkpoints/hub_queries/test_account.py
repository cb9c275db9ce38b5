"""The person's token: stored where other tools find it, and shown nowhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoints.hub_queries.client import HubError, HubQueries
from engine.checkpoints.hub_queries.messages import Account
from tests.hub_server import HubServer

TOKEN = "hf_abcdefgh"


def _seen_by_other_tools() -> str:
    """The token as another program finds it."""
    script = "from huggingface_hub import get_token; print(get_token())"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


async def test_a_saved_token_is_found_by_every_tool_and_used_from_then_on(
    hub: HubServer, queries: HubQueries, tmp_path: Path
) -> None:
    hub.accounts[TOKEN] = "ada"
    assert await queries.who() is None
    assert await queries.save_token(f"  {TOKEN}\n") == Account("ada")
    assert _seen_by_other_tools() == TOKEN
    assert (tmp_path / "home" / "token").stat().st_mode & 0o077 == 0
    assert await queries.who() == Account("ada")
    hub.requests.clear()
    await queries.search("")
    assert [request.token for request in hub.requests] == [TOKEN]


async def test_a_token_that_the_hub_does_not_know_is_not_saved(
    hub: HubServer, queries: HubQueries, tmp_path: Path
) -> None:
    odd = ("hf_a\nHost: evil", "hf_\x1b[2J", "hf_é", "two words", "x" * 100_000, " ")
    for token in ("hf_unknown", "api_org_abc", *odd):
        with pytest.raises(HubError) as caught:
            await queries.save_token(token)
        assert (caught.value.reason, "settings/tokens" in caught.value.hint) == ("token", True)
        assert token == " " or token not in str(caught.value)
    assert not (tmp_path / "home" / "token").exists()
    assert {request.token for request in hub.requests} == {"hf_unknown"}


async def test_a_token_that_the_environment_overrides_is_told(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.accounts |= {TOKEN: "katherine", "hf_environment": "grace"}
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    saved = await queries.save_token(TOKEN)
    assert (saved.name, saved.variable, "Unset it" in saved.note) == ("katherine", "HF_TOKEN", True)
    assert await queries.who() == Account("grace", "HF_TOKEN")
    assert (await queries.save_token("hf_environment")).note == ""


async def test_a_token_is_not_saved_while_the_hub_cannot_say_whose_it_is(
    hub: HubServer, queries: HubQueries, tmp_path: Path
) -> None:
    hub.accounts[TOKEN] = "ada"
    for status in (429, 500):
        hub.status, hub.status_headers = status, {"Retry-After": "3600"}
        with pytest.raises(HubError) as caught:
            await queries.save_token(TOKEN)
        assert (caught.value.reason, str(status) in caught.value.message) == ("server", True)
    assert not (tmp_path / "home" / "token").exists()


async def test_a_token_that_cannot_be_stored_is_told(hub: HubServer, queries: HubQueries, tmp_path: Path) -> None:
    hub.accounts[TOKEN] = "ada"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").mkdir()
    with pytest.raises(HubError, match="could not be saved") as caught:
        await queries.save_token(TOKEN)
    assert str(tmp_path / "home" / "token") in caught.value.hint


@pytest.mark.parametrize("token", ["hf_wrong", "hf_\x00bad token"])
async def test_a_wrong_token_in_use_is_told_and_not_shown(
    hub: HubServer,
    queries: HubQueries,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    token: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(token)
    hub.add("org/chat", {})
    for question in (queries.search(""), queries.info("org/chat"), queries.who()):
        with pytest.raises(HubError) as caught:
            await question
        assert (caught.value.reason, bool(caught.value.hint)) == ("token", True)
        assert token not in repr(caught.value) + str(caught.value)
    await queries.close()
    assert token not in caplog.text


async def test_a_token_shows_in_no_log_no_argument_and_no_view_of_a_message(
    hub: HubServer, queries: HubQueries, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    from engine.checkpoints.hub_queries.messages import SaveToken

    caplog.set_level(logging.DEBUG)
    hub.accounts[TOKEN] = "ada"
    before = psutil.Process().children()  # whatever other tests keep
    await queries.save_token(TOKEN)
    (child,) = (each for each in psutil.Process().children() if each not in before)
    assert TOKEN not in " ".join(child.cmdline())
    assert TOKEN not in str(child.environ())
    await queries.close()
    assert TOKEN not in caplog.text
    assert TOKEN not in f"{SaveToken(1, TOKEN)!r} {SaveToken(1, TOKEN)} {SaveToken(1, TOKEN).__rich_repr__()}"
    assert TOKEN not in str(os.environ)
