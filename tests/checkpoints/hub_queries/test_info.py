"""What is known of a repository before anything of it is fetched."""

from __future__ import annotations

import json

import pytest

from engine.checkpoints.hub_queries.client import HubError, HubQueries
from engine.checkpoints.hub_queries.messages import CARD_LIMIT
from tests import hub_server
from tests.hub_api import Facts, discussions
from tests.hub_server import HubServer, git_sha1, sha256

LLAMA = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode()
ROBOT = "SFconvertbot"
PICKLED = {"config.json": LLAMA, "pytorch_model.bin": b"pickle"}


def _asked(hub: HubServer, part: str) -> int:
    return sum(part in request.path for request in hub.requests)


async def test_files_sizes_and_what_a_pull_would_choose_are_known_before_anything_is_fetched(
    hub: HubServer, queries: HubQueries
) -> None:
    files = {
        "config.json": LLAMA,
        "model.safetensors": b"w" * 5000,
        "pytorch_model.bin": b"p" * 6000,
        "modeling_evil.py": b"raise SystemExit",
        "README.md": b"---\nlicense: other\ntags:\n- x\n---\n\n# Card\n---\nmore",
    }
    card = {"license_name": "own-licence"}
    repository = hub.add("org/chat", files, facts=Facts(licence="other", card=card, parameters=9, tags=("en",)))
    info = await queries.info("org/chat")
    assert (info.repo_id, info.sha, info.licence) == ("org/chat", repository.commit, "own-licence")
    assert (info.gated, info.access, info.private, info.parameters) == ("", True, False, 9)
    assert "en" in info.tags
    assert {file.path: (file.size, file.lfs, file.digest) for file in info.files} == {
        name: (len(data), name in ("model.safetensors", "pytorch_model.bin"), _digest(name, data))
        for name, data in files.items()
    }
    assert set(info.chosen) == {"config.json", "model.safetensors", "README.md"}
    assert info.chosen_bytes == len(LLAMA) + 5000 + len(files["README.md"])
    assert info.card == "# Card\n---\nmore"
    assert (info.problem, info.needs_remote_code, info.pickle_only, info.left_out) == ("", False, False, ())
    assert not _asked(hub, "/storage/"), "no weights were fetched"
    assert (await queries.info("org/chat", repository.commit)).sha == repository.commit


def _digest(name: str, data: bytes) -> str:
    return sha256(data) if name.endswith(hub_server.LARGE_SUFFIXES) else git_sha1(data)


async def test_code_of_its_own_is_told_before_downloading(hub: HubServer, queries: HubQueries) -> None:
    """THUDM/glm-2b calls itself by a name that transformers gave to another architecture later."""
    auto_map = {"AutoModelForSeq2SeqLM": "modeling_glm.GLMForConditionalGeneration"}
    glm = json.dumps({"model_type": "glm", "auto_map": auto_map}).encode()
    weights = {"model.safetensors": b"w"}
    hub.add("org/glm", {"config.json": glm, **weights})
    info = await queries.info("org/glm")
    assert info.needs_remote_code
    assert "another architecture" in info.problem
    hub.add("org/new", {"config.json": b'{"model_type": "not-invented-yet"}', **weights})
    unknown = await queries.info("org/new")
    assert (unknown.needs_remote_code, "not-invented-yet" in unknown.problem) == (False, True)


async def test_a_gated_repository_says_whether_it_is_open_to_the_account(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = json.dumps({"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}).encode()
    files = {"config.json": evil, "model.safetensors": b"w", "README.md": b"# Secret"}
    hub.add("org/gated", files, gated=True, access=frozenset({"hf_friend"}))
    closed = await queries.info("org/gated")
    assert (closed.gated, closed.access, closed.card, closed.left_out) == ("manual", False, "", ())
    assert (set(closed.chosen), closed.needs_remote_code) == (set(files), True), (
        "as the Hub itself tells of config.json"
    )
    assert not _asked(hub, "/resolve/")
    await queries.close()

    monkeypatch.setenv("HF_TOKEN", "hf_friend")
    friend = HubQueries()
    try:
        opened = await friend.info("org/gated")
    finally:
        await friend.close()
    assert (opened.access, opened.card) == (True, "# Secret")


async def test_a_private_repository_opens_to_its_token_alone(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/private", PICKLED, access=frozenset({"hf_owner"}))
    with pytest.raises(HubError) as caught:
        await queries.info("org/private")
    assert (caught.value.reason, "private" in caught.value.message) == ("not-found", True)
    await queries.close()

    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    owner = HubQueries()
    try:
        assert (await owner.info("org/private")).private
    finally:
        await owner.close()


async def test_what_the_hub_does_not_have_is_told(hub: HubServer, queries: HubQueries) -> None:
    hub.add("org/chat", PICKLED)
    for repo_id, revision, words in (
        ("org/absent", "main", "has no org/absent"),
        ("org/chat", "no-such-branch", "no such revision"),
        ("../../etc", "main", "cannot be the id"),
    ):
        with pytest.raises(HubError, match=words) as caught:
            await queries.info(repo_id, revision)
        assert (caught.value.reason, bool(caught.value.hint)) == ("not-found", True)


async def test_pickles_are_told_with_the_robots_conversion_of_these_very_weights(
    hub: HubServer, queries: HubQueries
) -> None:
    """The newest that converts what is published today; what anybody else proposes may be any weights."""
    converted = {**PICKLED, "model.safetensors": b"w"}
    hub.add("org/old", PICKLED)
    wanted = hub.propose("org/old", converted, ROBOT)
    hub.propose("org/old", {**PICKLED, "README.md": b"x"}, ROBOT)
    hub.propose("org/old", {**converted, "pytorch_model.bin": b"what it was once"}, ROBOT)
    hub.propose("org/old", converted, ROBOT, status="closed")
    hub.propose("org/old", {**converted, "model.safetensors": b"poison"}, "stranger")
    info = await queries.info("org/old")
    assert (info.pickle_only, info.safetensors_revision) == (True, wanted)

    proposed = await queries.info("org/old", wanted)
    assert (proposed.sha, proposed.pickle_only) == (hub.repositories[f"org/old@{wanted}"].commit, False)
    assert "model.safetensors" in proposed.chosen


async def test_what_a_stranger_proposes_is_recommended_to_nobody_whatever_the_hub_lists(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_server, "discussions", lambda repo_id, facts, query: discussions(repo_id, facts, {}))
    hub.add("org/old", PICKLED)
    hub.propose("org/old", {**PICKLED, "model.safetensors": b"poison"}, "stranger")
    info = await queries.info("org/old")
    assert (info.pickle_only, info.safetensors_revision, info.left_out) == (True, None, ())


async def test_the_robots_proposals_are_looked_at_a_few_times_only(hub: HubServer, queries: HubQueries) -> None:
    hub.add("org/old", PICKLED)
    for number in range(30):
        hub.propose("org/old", {**PICKLED, "README.md": b"%d" % number}, ROBOT)
    info = await queries.info("org/old")
    assert (info.pickle_only, info.safetensors_revision, info.left_out) == (True, None, ())
    assert _asked(hub, "/revision/refs/pr/") <= 4


async def test_gguf_files_and_adapters_are_known_for_what_they_are(hub: HubServer, queries: HubQueries) -> None:
    split = [f"Q8/b-0000{number}-of-00002.gguf" for number in (1, 2)]
    files = {"a-Q4.gguf": b"GGUF", split[1]: b"GGUF part", split[0]: b"GGUF", "c-00001-of-00002.gguf": b"GGUF"}
    hub.add("org/quants", {**files, "config.json": LLAMA}, facts=Facts(tags=("gguf",)))
    quants = await queries.info("org/quants")
    assert {(file.path, file.size) for file in quants.ggufs} == {("a-Q4.gguf", 4), (split[0], 13)}, "a split one once"
    assert quants.chosen == []
    assert "a-Q4.gguf" in quants.problem
    facts = Facts(library="peft", tags=("base_model:adapter:org/base",))
    config = b'{"model_type": "whatever its base is"}'
    lora = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"w", "config.json": config}
    hub.add("org/lora", lora, facts=facts)
    adapter = await queries.info("org/lora")
    assert (adapter.adapter_of, adapter.problem) == (("org/base",), "")
    assert "adapter_model.safetensors" in adapter.chosen


async def test_hostile_files_spoil_nothing(hub: HubServer, queries: HubQueries) -> None:
    for name, data, left_out in (
        ("README.md", b"\xff\xfe# \x1b[31m" + b"x" * (2 * CARD_LIMIT), ""),
        ("README.md", b"---\nno end", ""),
        ("README.md", b"---x" + b"x---\n" * (CARD_LIMIT // 5 - 1), ""),  # looked through once, not from each dash on
        ("config.json", b"[" * 500_000, "nested too deeply"),
        ("config.json", b'{"a": "' + b"x" * 2_000_000, "more than the"),
        ("config.json", b"\x00\xff", "not valid JSON"),
    ):
        hub.add("org/odd", {"config.json": LLAMA, "model.safetensors": b"w", name: data})
        info = await queries.info("org/odd")
        assert len(info.card) <= CARD_LIMIT
        assert left_out in " ".join(info.left_out)
        assert bool(left_out) == bool(info.left_out)


async def test_a_config_of_characters_that_are_none_is_a_problem_in_words(hub: HubServer, queries: HubQueries) -> None:
    """JSON may spell half a character, which no other text can hold: the whole answer failed."""
    hub.add("org/odd", {"config.json": b'{"model_type": "\\ud800"}', "model.safetensors": b"w"})
    assert 'of the type "?"' in (await queries.info("org/odd")).problem


async def test_hostile_names_are_no_files_to_fetch(hub: HubServer, queries: HubQueries) -> None:
    names = ["../../.ssh/config.json", "/etc/README.md", "config.json\n", "\x1b[2Jmodel.safetensors", "\ud800.json"]
    hub.add("org/odd", {**dict.fromkeys(names, b"{}"), "model.safetensors": b"w"})
    info = await queries.info("org/odd")
    assert info.chosen == ["model.safetensors"]
    assert len(info.files) == 6


async def test_what_fails_beside_the_main_question_is_told_and_the_rest_shown(
    hub: HubServer, queries: HubQueries
) -> None:
    hub.add("org/chat", {**PICKLED, "README.md": b"# Card"}, gated=True, access=frozenset())
    hub.status, hub.status_match = 503, "org/chat/"
    hub.status_times = 4
    with pytest.raises(HubError):
        await queries.info("org/chat")
    hub.status_match, hub.status_times = "/auth-check", 1
    info = await queries.info("org/chat")
    assert (info.access, bool(info.files)) == (None, True)
    assert any("Your access" in sentence and "503" in sentence for sentence in info.left_out)
    assert info.needs_remote_code is False


async def test_the_token_does_not_follow_a_file_to_another_host(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub_server, "LARGE_SUFFIXES", (".md",))
    hub.add("org/chat", {"config.json": LLAMA, "model.safetensors": b"w", "README.md": b"# Card"})
    assert (await queries.info("org/chat")).card == "# Card"
    tokens = {("/storage/" in request.path): request.token for request in hub.requests}
    assert tokens == {True: None, False: "hf_secret"}
