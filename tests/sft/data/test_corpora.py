"""The nine corpora, their rows as they are published, odd ones included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft.data.conversation import Conversation
from sft.data.corpora import CORPORA
from sft.data.corpora.gpt4all import plain
from sft.data.corpora.medical import GUESSED
from sft.data.formats import FORMATS, recognise
from sft.data.reading import read_file
from sft.data.sources import Source, read
from tests.sft.data.rows import only, read_one, reason, said, write_lines

MEDMCQA = {
    "id": "45258d3d-b974-44dd-a161-c3fccbdadd88",
    "question": "Which is elevated?",
    "opa": "Sodium",
    "opb": "Lead",
    "opc": "Zinc",
    "opd": "Iron",
    "cop": 1,
    "choice_type": "multi",
    "exp": None,
    "subject_name": "Medicine",
    "topic_name": None,
}
MEDQA = {
    "question": "Which treatment is best?",
    "answer": "Nitrofurantoin",
    "options": {"A": "Ampicillin", "B": "Ceftriaxone", "C": "Doxycycline", "D": "Nitrofurantoin"},
    "meta_info": "step2&3",
    "answer_idx": "D",
    "metamap_phrases": ["treatment"],
}
PUBMEDQA = {
    "pubid": 21645374,
    "question": "Do mitochondria play a role?",
    "context": {"contexts": ["First part.", "Second part."], "labels": ["BACKGROUND", "RESULTS"], "meshes": []},
    "long_answer": "They do.",
    "final_decision": "yes",
}
CHOICES = "\n(A) Sodium\n(B) Lead\n(C) Zinc\n(D) Iron"


def test_there_are_nine_with_all_that_a_person_needs_to_know() -> None:
    assert set(CORPORA) == {
        "medmcqa",
        "medqa-usmle",
        "pubmedqa",
        "alpaca",
        "belle-1m",
        "belle-school-math",
        "belle-multiturn",
        "gpt4all-p3",
        "oig",
    }
    for name, corpus in CORPORA.items():
        assert corpus.name == name
        assert corpus.format in FORMATS
        assert corpus.licence and corpus.hub and corpus.files and corpus.licence_url.startswith("https://")
    assert all("research only" in corpus.notes for name, corpus in CORPORA.items() if name.startswith("belle"))


@pytest.mark.parametrize(
    ("cops", "letters"),
    [
        ([0, 1, 3], "ABD"),  # the Hub's
        ([1, 2, 4], "ABD"),  # the original's
        ([1.0, 2.0, 4.0], "ABD"),  # through a table
        (["0", "1", "3"], "ABD"),
    ],
)
def test_medmcqa_counts_from_0_or_from_1_as_its_file_does(tmp_path: Path, cops: list[object], letters: str) -> None:
    path = write_lines(tmp_path / "train.json", [MEDMCQA | {"cop": cop} for cop in cops])
    answers = [said(row)[1][1] for row in read_file(path)]
    assert "".join(answer[1] for answer in answers) == letters
    assert all(isinstance(row, Conversation) and not row.note for row in read_file(path))


def test_each_file_of_a_folder_counts_for_itself(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [MEDMCQA | {"cop": cop} for cop in (0, 1)])
    write_lines(tmp_path / "b.jsonl", [MEDMCQA | {"cop": cop} for cop in (4, 1)])
    assert [said(row)[1][1][1] for row in read(Source(str(tmp_path)))] == ["A", "B", "D", "A"]


def test_where_no_row_tells_it_counts_from_1_and_says_so(tmp_path: Path) -> None:
    row = read_one(tmp_path, MEDMCQA | {"cop": 2, "exp": " Because. "})
    assert said(row) == [("user", f"Which is elevated?{CHOICES}"), ("assistant", "(B) Lead\n\nBecause.")]
    assert isinstance(row, Conversation)
    assert row.note == GUESSED


@pytest.mark.parametrize(
    ("cop", "why"),
    [
        (-1, "no answer"),
        (None, "no answer"),
        (5, "answer out of range"),
        (0, "answer out of range"),
        ("B", "wrong type"),
        (True, "wrong type"),
        ([1], "wrong type"),
        (1.5, "wrong type"),
        (10**400, "answer out of range"),
        ("--1", "wrong type"),
    ],
)
def test_a_cop_that_names_no_option(tmp_path: Path, cop: object, why: str) -> None:
    from_1 = [MEDMCQA | {"cop": 4}] * 64
    path = write_lines(tmp_path / "x.jsonl", [*from_1, MEDMCQA | {"cop": cop}])
    assert reason(list(read_file(path))[-1]) == why


def test_a_test_split_without_cop_has_no_answers(tmp_path: Path) -> None:
    record = {key: value for key, value in MEDMCQA.items() if key != "cop"}
    assert reason(read_one(tmp_path, record)) == "no answer"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"answer_idx": None},
        {"answer": None},
        {"options": [{"key": key, "value": value} for key, value in MEDQA["options"].items()]},  # type: ignore[attr-defined]
        {"options": {**MEDQA["options"], "E": None}},  # type: ignore[dict-item]
    ],
)
def test_medqa(tmp_path: Path, change: dict[str, object]) -> None:
    record = MEDQA | change
    assert recognise([record]) == "medqa-usmle"
    question = "Which treatment is best?\n(A) Ampicillin\n(B) Ceftriaxone\n(C) Doxycycline\n(D) Nitrofurantoin"
    assert said(read_one(tmp_path, record)) == [("user", question), ("assistant", "(D) Nitrofurantoin")]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answer_idx": "E"}, "answer out of range"),
        ({"answer_idx": "A"}, "answer out of range"),
        ({"answer_idx": None, "answer": "Aspirin"}, "answer out of range"),
        ({"answer_idx": None, "answer": None}, "no answer"),
        ({"options": {}}, "missing field"),
        ({"options": ["A"]}, "wrong type"),
        ({"options": None}, "missing field"),
        ({"question": ""}, "empty question"),
    ],
)
def test_medqa_rows_that_are_none(tmp_path: Path, change: dict[str, object], why: str) -> None:
    assert reason(read_one(tmp_path, MEDQA | change, "medqa-usmle")) == why


def test_pubmedqa(tmp_path: Path) -> None:
    expected = [
        ("user", "First part.\n\nSecond part.\n\nDo mitochondria play a role?"),
        ("assistant", "Yes. They do."),
    ]
    assert said(read_one(tmp_path, PUBMEDQA)) == expected
    unlabelled = {key: value for key, value in PUBMEDQA.items() if key != "final_decision"}
    assert said(read_one(tmp_path, unlabelled))[1] == ("assistant", "They do.")
    assert reason(read_one(tmp_path, PUBMEDQA | {"context": {"contexts": [1]}})) == "wrong type"
    assert reason(read_one(tmp_path, PUBMEDQA | {"context": None})) == "missing field"
    assert reason(read_one(tmp_path, unlabelled | {"long_answer": ""})) == "empty answer"


@pytest.mark.parametrize("indent", [None, 4])
def test_pubmedqa_as_it_was_published(tmp_path: Path, indent: int | None) -> None:
    """One object, by pmid."""
    row = {
        "QUESTION": "Do they?",
        "CONTEXTS": ["Some."],
        "LABELS": ["RESULTS"],
        "LONG_ANSWER": "They do.",
        "final_decision": "no",
    }
    path = tmp_path / "ori_pqal.json"
    path.write_text(json.dumps({"21645374": row, "16418930": row | {"LONG_ANSWER": 5}}, indent=indent))
    first, second = read_file(path)
    assert said(first) == [("user", "Some.\n\nDo they?"), ("assistant", "No. They do.")]
    assert reason(second) == "wrong type"
    assert (first.line, second.line) == ((1, 1) if indent is None else (2, 13))


@pytest.mark.parametrize("indent", [None, 2])
def test_lmflows_archives(tmp_path: Path, indent: int | None) -> None:
    noise = "Input: Defintion: More Information Needed \n "
    instances: list[object] = [
        {"text": "Input: Instruction: What is 2 + 2? \n Output: 4 \n\n"},
        {"text": f"{noise}Question: True? (A) Yes (B) No. \n Output: A. \n\n"},
        {"text": "Input: Instruction: Sort. \n Input: b, a \n Output: a, b \n\n"},
        {"input": f"{noise}Instruction: Why?", "output": "Output: Because."},
        {"text": "Input: Instruction: And? \n\n"},
        5,
    ]
    path = tmp_path / "train_6.json"
    path.write_text(json.dumps({"type": "text_only", "instances": instances}, indent=indent))
    one, two, three, four, five, six = read_file(path)
    assert said(one) == [("user", "What is 2 + 2?"), ("assistant", "4")]
    assert said(two) == [("user", "Question: True? (A) Yes (B) No."), ("assistant", "A.")]
    assert said(three) == [("user", "Sort.\n\nb, a"), ("assistant", "a, b")]
    assert said(four) == [("user", "Why?"), ("assistant", "Because.")]
    assert reason(five) == "no answer"
    assert reason(six) == "not an object"


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "小明有3个苹果。", "input": "", "output": "还剩2个。"},
        {"input": "小明有3个苹果。", "target": "还剩2个。"},
    ],
)
def test_belle(tmp_path: Path, record: dict[str, str]) -> None:
    path = write_lines(tmp_path / "Belle_open_source_1M.json", [record])
    row = only(list(read(Source(f"belle-1m:{path}"))))
    assert said(row) == [("user", "小明有3个苹果。"), ("assistant", "还剩2个。")]


@pytest.mark.parametrize("colon", [":", "："])
def test_belle_has_the_turns_before_the_last_answer_in_the_instruction(tmp_path: Path, colon: str) -> None:
    history = f"Human{colon}你好\nAssistant{colon}您好！\n有什么事？\nHuman{colon}再见\nAssistant{colon}\n"
    record = {"instruction": history, "input": "", "output": " 再见！"}
    assert recognise([record]) == "belle-multiturn"
    assert said(read_one(tmp_path, record)) == [
        ("user", "你好"),
        ("assistant", "您好！\n有什么事？"),
        ("user", "再见"),
        ("assistant", "再见！"),
    ]
    assert reason(read_one(tmp_path, record | {"output": 1})) == "wrong type"
    broken = record | {"instruction": f"Human{colon}你好\nHuman{colon}再见\nAssistant{colon}"}
    assert reason(read_one(tmp_path, broken)) == "roles out of order"
    alone = read_one(tmp_path, record | {"instruction": "再见"}, "belle-multiturn")
    assert said(alone) == [("user", "再见"), ("assistant", "再见！")]


def test_gpt4all_makes_html_plain_and_takes_values(tmp_path: Path) -> None:
    code = "<pre><code>if a &lt; b:\n    x()\n</code></pre>"
    prompt = f"<p>Why does <code>a &lt; b</code> fail?</p>\n\n{code}\n<p>Thanks!<br>Me</p>"
    rows = [
        {"prompt": prompt, "response": "It is\n\n\ndeprecated.", "source": "pacovaldez/stackoverflow-questions"},
        {"prompt": {"value": "Is <p> a tag?", "meta": []}, "response": {"value": "Yes."}, "source": "bigscience/p3"},
        {"prompt": {"values": "?"}, "response": "Yes.", "source": "bigscience/p3"},
    ]
    one, two, three = read_file(write_lines(tmp_path / "data.jsonl", rows))
    fenced = "Why does `a < b` fail?\n\n```\nif a < b:\n    x()\n```\n\nThanks!\nMe"
    assert said(one) == [("user", fenced), ("assistant", "It is\n\n\ndeprecated.")]
    assert said(two) == [("user", "Is <p> a tag?"), ("assistant", "Yes.")]
    assert reason(three) == "wrong type"


def test_what_only_looks_like_a_tag_stays() -> None:
    assert plain("<ul><li>a &amp; b</li><li>vector<int> x</li></ul>") == "- a & b\n- vector<int> x"
    assert plain("<p" * 10_000) == "<p" * 10_000


def test_oig(tmp_path: Path) -> None:
    rows = [
        {"text": "<human>: Hi\n<bot>: Hello.\n\nHow are you?\n<human>: Well.\n<bot>: Good."},
        {"text": "<human>: Who?\nRosey: I am Rosey."},
        {"text": "Background: A story.\n<human>: Who?\n<bot>: She."},
        {"text": "<human>: Hi\n<bot>: Hello.\n<human>: Bye"},
        {"text": "<bot>: Hello."},
        {"text": "nothing"},
        {"text": ""},
        {"metadata": {}},
    ]
    one, two, three, four, *bad = read_file(write_lines(tmp_path / "unified_chip2.jsonl", rows), "oig")
    hello = "Hello.\n\nHow are you?"
    assert said(one) == [("user", "Hi"), ("assistant", hello), ("user", "Well."), ("assistant", "Good.")]
    assert said(two) == [("user", "Who?"), ("assistant", "I am Rosey.")]
    assert said(three) == [("user", "Background: A story.\n\nWho?"), ("assistant", "She.")]
    assert said(four) == [("user", "Hi"), ("assistant", "Hello.")]
    assert [reason(row) for row in bad] == ["no answer", "no marker", "empty text", "missing field"]
