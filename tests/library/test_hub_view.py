"""The Hub in the library, driven by real keys against a Hub on loopback."""

from __future__ import annotations

import asyncio

import pytest

from engine.checkpoints.hub_queries.messages import HubModel, SearchPage
from hugchat_tui.library.token_dialog import TokenDialog
from tests.chat.driving import Home
from tests.checkpoints.builders import model_files, safetensors_bytes
from tests.hub_api import Facts
from tests.hub_server import HubServer
from tests.library.driving import Library, library

GPT2 = b'{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}'


async def search(it: Library, text: str, *found: str) -> None:
    """Type into the search, and wait for what is found."""
    await it.press("2", "slash", *text)
    await it.until(lambda: not it.hub._searching and all(name in it.text() for name in found), "the results")
    await it.press("enter")


async def pull_done(it: Library, reference: str) -> None:
    def done() -> bool:
        return any(status.reference == reference and status.state == "done" for status in it.service.statuses())

    await it.until(done, f"{reference} to be here")


async def test_the_catalogue_needs_no_network_and_what_fails_is_told_in_words(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    async with library(home) as it:
        await it.press("2")
        await it.until(lambda: "Small chat models" in it.text(), "the catalogue")
        assert "HugChat's releases" in it.text() and "Backbones of HugChat's model table" in it.text()
        await it.until(lambda: "cannot be reached" in it.details(), "why there are no details")
        assert "HugChat on GPT-2" in it.details(), "what the catalogue knows stays"
        await it.press("slash", *"smol")
        await it.until(lambda: "choose a checkpoint that is here" in it.text(), "why there are no results")
        await it.press("escape")
        await it.until(lambda: "Small chat models" in it.text(), "the catalogue again")
        await it.press("p")
        await it.until(lambda: any("cannot be reached" in notice for notice in it.notices()), "why it is not fetched")


async def test_offline_mode_is_told_as_such(home: Home, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    async with library(home) as it:
        await it.press("2", "slash", *"model")
        await it.until(lambda: "offline mode" in it.text(), "the reason")


async def test_results_tell_what_they_are_and_details_what_a_pull_fetches(home: Home, hub: HubServer) -> None:
    facts = Facts(downloads=1_234_567, likes=42, licence="apache-2.0", parameters=135_000_000)
    hub.add("org/tiny-chat", model_files(home.models.parent), facts=facts)
    async with library(home) as it:
        await search(it, "tiny", "org/tiny-chat")
        line = next(line for line in it.text().splitlines() if line.startswith("   org/tiny-chat"))
        for words in ("135M", "1.2M", "apache-2.0"):
            assert words in line
        await it.until(lambda: "p fetches" in it.details(), "the details")
        details = it.details()
        fetched, _, others = details.partition("Other files")
        assert "model.safetensors" in fetched and "modeling_evil.py" not in fetched
        assert "modeling_evil.py" in others and "1,234,567 in 30 days" in details and "Card" in details
        await it.press("slash", "ctrl+u", *"zzz")
        await it.until(lambda: "The Hub has no models with “zzz” in their name." in it.text(), "the empty answer")


async def test_an_answer_to_what_was_typed_before_is_dropped(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with library(home) as it:
        await it.press("2")
        asked: dict[str, asyncio.Future[SearchPage]] = {}

        async def answer(text: str, **options: object) -> SearchPage:
            asked[text] = asyncio.get_running_loop().create_future()
            return await asyncio.shield(asked[text])

        monkeypatch.setattr(it.service.hub, "search", answer)
        await it.press("slash", "a")
        await it.until(lambda: "a" in asked, "the first question")
        await it.press("b")
        await it.until(lambda: "ab" in asked, "the second question")
        asked["ab"].set_result(SearchPage([HubModel(id="org/right")]))
        await it.until(lambda: "org/right" in it.text())
        asked["a"].set_result(SearchPage([HubModel(id="org/late")]))
        await it.pilot.pause()
        assert "org/right" in it.text() and "org/late" not in it.text()


async def test_the_next_page_comes_when_the_cursor_nears_the_end(home: Home, hub: HubServer) -> None:
    for number in range(70):
        hub.repositories[f"org/model-{number}"] = hub.repositories["org/model"]
    async with library(home) as it:
        await search(it, "org/model-", "50 results so far")
        await it.press("end")
        await it.until(lambda: "70 results ·" in it.text(), "all of them")
        await it.press("s")
        await it.until(lambda: "by likes" in it.text() and "50 results so far" in it.text(), "another order")
        await it.press("f")
        await it.until(lambda: "GGUF files" in it.text(), "another kind")


async def test_a_gated_repository_says_so_before_anything_starts_and_opens_with_a_token(
    home: Home, hub: HubServer
) -> None:
    hub.add("org/gated", model_files(home.models.parent), gated=True, access=frozenset({"hf_right"}))
    hub.accounts["hf_right"] = "ada"
    async with library(home) as it:
        await search(it, "gated", "org/gated")
        assert "gated" in next(line for line in it.text().splitlines() if "org/gated" in line).replace("org/gated", "")
        await it.until(lambda: "Not open to you" in it.details(), "the details")
        await it.press("p")
        await it.until(lambda: f"{hub.url}/org/gated" in it.question(), "how to get access")
        await it.press("t")
        await it.until(lambda: isinstance(it.app.screen, TokenDialog), "the password field")
        await it.press(*"hf_wrong")
        assert "hf_wrong" not in it.text()
        await it.press("enter")
        await it.until(lambda: "does not know this token" in it.problem(), "the refusal")
        await it.press(*["backspace"] * len("wrong"), *"right", "enter")
        await it.until(lambda: "Logged in as ada." in it.notices(), "the account")
        await pull_done(it, "org/gated")
        assert not any("hf_right" in notice for notice in it.notices())


async def test_pickles_are_offered_as_the_safetensors_that_the_hubs_robot_made(home: Home, hub: HubServer) -> None:
    pickled = {"config.json": GPT2, "tokenizer.json": b"{}", "pytorch_model.bin": b"x" * 1000}
    hub.add("org/pickled", pickled)
    revision = hub.propose("org/pickled", {**pickled, "model.safetensors": safetensors_bytes()}, "SFconvertbot")
    async with library(home) as it:
        await search(it, "pickled", "org/pickled")
        await it.until(lambda: revision in it.details(), "the offer")
        await it.press("p")
        await it.until(lambda: f"Fetch the safetensors, from {revision}" in it.question(), "the question")
        await it.press("s")
        await pull_done(it, f"org/pickled@{revision}")
        await it.press("1")
        await it.until(lambda: f"org/pickled@{revision}" in it.names(), "the row")


async def test_of_several_gguf_files_one_is_chosen(home: Home, hub: HubServer) -> None:
    hub.add("org/many-gguf", {"small.gguf": b"x" * 1000, "large.gguf": b"y" * 2000, "README.md": b"hi"})
    async with library(home) as it:
        await search(it, "many", "org/many-gguf")
        await it.until(lambda: "One of 2 GGUF files" in it.details(), "the details")
        await it.press("p")
        await it.until(lambda: "small.gguf" in it.question() and "2.0 kB" in it.question(), "the question")
        await it.press("1")
        await pull_done(it, "org/many-gguf/small.gguf")


async def test_code_of_its_own_is_told_before_it_is_fetched(home: Home, hub: HubServer) -> None:
    config = b'{"model_type": "glm", "architectures": ["X"], "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}'
    hub.add("org/coded", model_files(home.models.parent) | {"config.json": config})
    async with library(home) as it:
        await search(it, "coded", "org/coded")
        await it.until(lambda: "It could not be loaded here" in it.details(), "the details")
        await it.press("p")
        await it.until(lambda: "org/coded could not be loaded here" in it.question(), "the question")
        await it.press("c")
        assert it.service.statuses() == []
