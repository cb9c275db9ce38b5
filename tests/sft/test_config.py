"""Recipes are complete, typed and checked: every mistake is found at once and named with its place."""

from __future__ import annotations

import os
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints.model import Checkpoint
from sft import config
from sft.config import Recipe, RecipeError
from sft.packaged import packaged_recipe, packaged_recipes, recipe_for
from sft.recipe_checks import check_base, check_machine, check_sources
from sft.recipe_fields import fields_of


def problems(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        config.parse(text)
    assert str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_a_written_recipe_holds_every_key_with_a_comment_above_it_and_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    config.save(Recipe(), path)
    assert config.load(path) == Recipe()
    lines = path.read_text().splitlines()
    for section in fields_of(Recipe):
        if section.name == "version":
            continue
        written = tomllib.loads(path.read_text())[section.name]
        assert list(written) == [field.name for field in fields_of(section.item)]
    for above, line in pairwise(lines):
        if " = " in line and not line.startswith("#"):
            assert above.startswith("#"), line
    assert path.stat().st_mode & 0o777 == 0o644


# Each changes a recipe that is right: the text, the place of every problem, and words of the first one.
BROKEN = [
    ("[training]\nlearning_rate = 2", ["training.learning_rate"], "2 is above 1"),
    ("[training]\nlearning_rate = 0", ["training.learning_rate"], "0 is not above 0"),
    ("[training]\nlearning_rate = nan", ["training.learning_rate"], "nan is no number"),
    ("[training]\nlearning_rate = inf", ["training.learning_rate"], "inf is above 1"),
    ('[training]\nlearning_rate = "fast"', ["training.learning_rate"], '"fast" is no number'),
    ("[training]\nlearning_rate = true", ["training.learning_rate"], "true is no number"),
    ("[training]\nlerning_rate = 1", ["training.lerning_rate"], "did you mean training.learning_rate?"),
    ("[training]\npacking = true", ["training.packing"], "did you mean data.packing?"),
    ("[training]\nbatch_size = 1.5", ["training.batch_size"], "1.5 is no whole number"),
    ("[training]\nbatch_size = 0", ["training.batch_size"], "0 is below 1"),
    ("[training]\nbatch_size = -1", ["training.batch_size"], "-1 is below 1"),
    ("[training]\nbeta2 = 1.0", ["training.beta2"], "1.0 is not below 1"),
    ("[training]\nepochs = []", ["training.epochs"], "a list of 0 is no number"),
    ("[training]\nseed = 99999999999999999999", ["training.seed"], "is above"),
    ("[training]\nseed = " + "9" * 200, ["training.seed"], "a number of more than 60 digits is above"),
    ('[training]\nschedule = "cosin"', ["training.schedule"], "did you mean cosine?"),
    ("[training]\nschedule = 3", ["training.schedule"], "3 is none of: cosine, linear, constant"),
    ("[training]\nmax_steps = 10\nwarmup_steps = 10", ["training.warmup_steps"], "leave none of the 10"),
    ("[training]\nwarmup_ratio = 1.0", ["training.warmup_ratio"], "never gets to its height"),
    ("training = 5", ["training"], "5 is no table"),
    ("[trainig]\nseed = 1", ["trainig"], "did you mean training?"),
    ("learning_rate = 1", ["learning_rate"], "did you mean training.learning_rate?"),
    ('[model]\nbase = ""', ["model.base"], "is empty"),
    ("[model]\nbase = 5", ["model.base"], "5 is no text"),
    ('[model]\nbase = "a\\u0000b"', ["model.base"], "holds a character"),
    ('[model]\ndtype = "fp16"', ["model.dtype"], "is none of"),
    ('[model]\ndtype = "float16"\n[launch]\ndevice = "cpu"', ["model.dtype"], "float16 is for GPUs"),
    (
        '[model]\ndtype = "float32"\nattention = "flash_attention_2"',
        ["model.attention"],
        "flash_attention_2 computes in 16 bits",
    ),
    ("[data]\nsources = 5", ["data.sources"], "5 is no list"),
    ("[data]\nsources = [5]", ["data.sources[0]"], "5 is no table"),
    ("[data]\nsources = [{}]", ["data.sources[0].path"], "is missing"),
    (
        '[data]\nsources = [{ path = "a" }, { path = "b", wieght = 2 }]',
        ["data.sources[1].wieght"],
        "did you mean data.sources[1].weight?",
    ),
    ('[data]\nsources = [{ path = "a", weight = 0 }]', ["data.sources[0].weight"], "0 is not above 0"),
    ('[data]\nsources = [{ path = "a", format = "Auto!" }]', ["data.sources[0].format"], "is not of the form"),
    ("[data]\nmax_length = 4", ["data.max_length"], "4 is below 16"),
    ("[data]\nbad_share = 1.5", ["data.bad_share"], "1.5 is above 1"),
    ("[data]\nheld_out = 1.0", ["data.held_out"], "1.0 is not below 1"),
    ("[data]\nheld_out = 0", ["evaluation.every"], "there is nothing to evaluate"),
    ("[method]\nbase_bits = 8", ["method.base_bits"], "8 is none of: 16, 4"),
    ("[method]\nbase_bits = 4.0", ["method.base_bits"], "4.0 is none of: 16, 4"),
    ('[method]\nkind = "full"\nbase_bits = 4', ["method.base_bits"], "4 bits cannot be trained"),
    ('[method]\nbase_bits = 4\n[launch]\ndevice = "cpu"', ["method.base_bits"], "4 bits need an NVIDIA GPU"),
    ("[method]\ntargets = []", ["method.targets"], "is empty"),
    ("[method]\ntargets = [1]", ["method.targets[0]"], "1 is no text"),
    ('[method]\ntargets = ["all-linear", "q_proj"]', ["method.targets"], "goes with no other name"),
    ("[evaluation]\nevery = 0\npatience = 2", ["evaluation.patience"], "evaluation.every is 0"),
    ('[evaluation]\nevery = 0\nprompts = ["Hi"]', ["evaluation.prompts"], "are never asked"),
    ("[checkpoints]\nkeep = 0", ["checkpoints.keep"], "0 is below 1"),
    ("[launch]\nzero = 4", ["launch.zero"], "4 is none of"),
    ("[launch]\nzero = true", ["launch.zero"], "true is none of"),
    ('[launch]\nzero = 2\nengine = "ddp"', ["launch.zero"], 'set that to "deepspeed"'),
    ('[launch]\noffload = "optimizer"\nzero = 1', ["launch.offload"], "needs launch.zero 2 or 3"),
    ('[launch]\noffload = "all"\nzero = 3\ndevice = "cpu"', ["launch.offload"], "moves what is on a GPU"),
    ("[method]\ndora = true\n[launch]\nzero = 3", ["launch.zero"], "whose norms DoRA takes"),
    ('[launch]\noffload = "all"\nzero = 2', ["launch.offload"], "needs launch.zero 3"),
    ('[launch]\nranks = 2\nengine = "plain"', ["launch.engine"], "is one process, and there are 2"),
    ("[launch]\nnodes = 2", ["launch.nodes"], "need launch.rendezvous or launch.hostfile"),
    ('[launch]\nrendezvous = "here:1234"', ["launch.rendezvous"], "launch.nodes is 1"),
    ('[launch]\nnodes = 2\nrendezvous = "here"', ["launch.rendezvous"], "is not of the form"),
    ('[launch]\nnodes = 2\nrendezvous = "here:99999"', ["launch.rendezvous"], "99999 is no port"),
    ('[launch]\nnodes = 2\nrendezvous = "a:1"\nhostfile = "b"', ["launch.hostfile"], "set one of them"),
    ("version = 2\nnew = 1", ["version"], "2 is newer than this program's 1"),
    ("version = 0", ["version"], "0 is below 1"),
    ('version = "1"', ["version"], '"1" is no whole number'),
    ("[training]\nlearning_rate = ", ["at its end"], "this is no TOML"),
    ("[training\n", ["line 1"], "this is no TOML"),
    ("[training", ["at its end"], "this is no TOML"),
    ("[launch]\nzero = 4\noffload = 'all'", ["launch.zero"], "4 is none of"),
    (
        "[training]\nlearning_rate = 2\nlerning_rate = 1\n[data]\nheld_out = 0\n[launch]\nranks = 0",
        ["training.lerning_rate", "training.learning_rate", "launch.ranks", "evaluation.every"],
        "there is no such key",
    ),
]


@pytest.mark.parametrize(("text", "places", "words"), BROKEN)
def test_a_broken_recipe_is_named_with_its_places(text: str, places: list[str], words: str) -> None:
    found = problems(text)
    assert [problem.split(": ")[0] for problem in found] == places
    assert words in found[0]


def test_more_problems_than_anyone_reads_are_counted() -> None:
    found = problems("".join(f"key{number} = 1\n" for number in range(200)))
    assert len(found) == 51
    assert found[-1] == "and 150 more"


_KEYS = [
    (section.name, field)
    for section in fields_of(Recipe)
    if section.name != "version"
    for field in fields_of(section.item)
]
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers() | st.text(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=3),
    st.sampled_from([0, 1, 2, 3, 4, 16, "auto", "cpu", "lora", "full", "all-linear", "slurm", 10**400, "\ud800"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_KEYS), _VALUES), min_size=1, max_size=4))
def test_any_value_at_any_key_is_read_or_named(changes: list[tuple[tuple[str, Any], object]]) -> None:
    document: dict[str, Any] = {}
    for (section, field), value in changes:
        document.setdefault(section, {})[field.name] = value
    try:
        recipe = config.from_document(document)
    except RecipeError as error:
        assert error.problems
        assert all(problem.place and problem.message for problem in error.problems)
        assert len(str(error)) < 2000 * len(error.problems)
    else:
        assert config.parse(config.dumps(recipe)) == recipe


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="[]{}=\".\n#'abc019_ ", max_size=200)))
def test_any_text_is_a_recipe_or_is_refused_in_words(text: str) -> None:
    try:
        config.parse(text)
    except RecipeError as error:
        assert error.problems


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_file_is_a_recipe_or_is_refused_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(data)
    try:
        config.load(path)
    except RecipeError as error:
        assert "recipe.toml" in error.message


def test_what_is_no_readable_file_is_refused_in_words(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            config.load(path)
        return str(caught.value)

    assert "there is no file" in refused(tmp_path / "none.toml")
    assert "is not a regular file" in refused(tmp_path)
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * 2_000_000)
    assert "more than the 1,000,000 expected" in refused(huge)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"[model]\nbase = '\xff'\n")
    assert "line 2: there is a byte that is not UTF-8" in refused(binary)
    deep = tmp_path / "deep.toml"
    deep.write_text("x = " + "[" * 5000 + "]" * 5000)
    assert "nested too deeply" in refused(deep)
    fifo = tmp_path / "fifo.toml"
    os.mkfifo(fifo)
    assert "is not a regular file" in refused(fifo)
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    assert "cannot be opened" in refused(loop)


def test_texts_with_quotes_newlines_and_other_scripts_survive_the_file() -> None:
    values = {
        "model.base": 'a "b" \\ c',
        "data.sources": [{"path": "行.jsonl", "weight": 0.5, "cap": 3}],
        "evaluation.prompts": ["one\ntwo", '"""', "tab\there"],
    }
    recipe = config.with_values(Recipe(), values)
    assert config.parse(config.dumps(recipe)) == recipe


def test_the_engine_that_auto_stands_for() -> None:
    def engine(**launch: object) -> str:
        return config.with_values(Recipe(), {f"launch.{key}": value for key, value in launch.items()}).engine

    assert engine() == "plain"
    assert engine(ranks=2) == "ddp"
    assert engine(zero=1) == "deepspeed"
    assert engine(engine="deepspeed") == "deepspeed"


def test_a_recipe_without_rows_is_told_how_to_name_some() -> None:
    assert [problem.place for problem in check_sources(Recipe())] == ["data.sources"]
    assert check_sources(config.with_values(Recipe(), {"data.sources": [{"path": "a"}]})) == []


def test_what_the_base_and_the_machine_cannot_do() -> None:
    base = Checkpoint("gpt2", Path("/gpt2"), "model", "folder", context_length=256)
    assert [problem.place for problem in check_base(Recipe(), base)] == ["data.max_length"]
    adapter = Checkpoint("mine", Path("/mine"), "adapter", "run")
    assert "merge it" in check_base(Recipe(), adapter)[0].message
    packed = config.with_values(Recipe(), {"method.base_bits": 4, "model.dtype": "float16", "launch.ranks": 4})
    assert [problem.place for problem in check_machine(packed, 0)] == ["method.base_bits", "model.dtype"]
    assert [problem.place for problem in check_machine(packed, 2)] == ["launch.ranks"]
    assert check_machine(packed, None) == []


SEED = ["gpt2", "gpt2-large", "gpt2-xl", "opt-1.3b", "opt-6.7b", "glm", "gpt-neo-1.3B", "gpt-neo-2.7B", "llama-7b"]
TODAY = ["SmolLM2-135M", "SmolLM2-360M", "SmolLM2-1.7B", "Qwen3-0.6B", "Qwen3-1.7B", "Llama-3.2-1B", "Gemma-3-1b"]
TABLE = [*SEED, *TODAY, "starter"]


def test_every_row_of_the_model_table_has_a_recipe_that_is_in_order() -> None:
    assert sorted(each.name for each in packaged_recipes()) == sorted(TABLE)
    for packaged in packaged_recipes():
        recipe = packaged.recipe()
        assert packaged.note
        assert recipe.check() == []
        assert config.parse(config.dumps(recipe)) == recipe
        assert recipe_for(recipe.model.base) == packaged


def test_the_tables_methods_are_the_recipes() -> None:
    methods = {name: packaged_recipe(name).recipe() for name in TABLE}
    assert {name for name, recipe in methods.items() if recipe.launch.zero == 3} == {
        "opt-6.7b",
        "gpt-neo-2.7B",
        "llama-7b",
    }
    assert all(methods[name].method.rank == 8 for name in ("opt-1.3b", "opt-6.7b", "llama-7b"))
    assert methods["gpt2"].method.kind == "full"


def test_a_recipe_that_does_not_ship_is_answered_with_near_ones() -> None:
    with pytest.raises(Exception, match=r"opt-1\.3b"):
        packaged_recipe("opt-1.3")
    assert recipe_for("EleutherAI/gpt-neo-1.3B") == packaged_recipe("gpt-neo-1.3b")
    assert recipe_for("org/unheard-of") is None
