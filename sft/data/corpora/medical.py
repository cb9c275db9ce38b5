"""The three medical corpora: MedMCQA, MedQA-USMLE and PubMedQA, as the Hub has them and as they were published."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from sft.data.turns import Made, Record, RowError, exchange, field, kind, optional

_OPTIONS = ("opa", "opb", "opc", "opd")
_DECISIONS = ("yes", "no", "maybe")
_NUMBER = re.compile(r"\s*-?[0-9]{1,9}\s*")
GUESSED = "cop taken to count from 1, no row says"


def is_medmcqa(record: Record) -> bool:
    return "question" in record and all(name in record for name in _OPTIONS)


def medmcqa_for(first: Sequence[Record]) -> Callable[[Record], Made]:
    """The converter for a file, by its first rows: a `cop` of 0 tells that it counts from 0, as on the Hub, and without
    one a 4 that it counts from 1, as in the original. Without either it is taken to count from 1, and every row says so
    in its note.
    """
    seen = {_index(record.get("cop")) for record in first}
    if 0 in seen:
        return medmcqa(0)
    return medmcqa(1, "" if 4 in seen else GUESSED)


def medmcqa(base: int, note: str = "") -> Callable[[Record], Made]:
    """The converter for rows whose `cop` counts from `base`."""

    def convert(record: Record) -> Made:
        options = [field(record, name).strip() for name in _OPTIONS]
        cop = record.get("cop")
        index = _index(cop)
        if cop is None or index == -1:  # as in the test split, the answers of which are not published
            raise RowError("no answer", "cop says none")
        if index is None:
            raise RowError("wrong type", f"cop is {kind(cop)}")
        if not 0 <= index - base < len(options):
            raise RowError("answer out of range", f"cop is {index}, counted from {base}")
        answer = _choice("ABCD"[index - base], options[index - base])
        why = record.get("exp")
        if isinstance(why, str) and why.strip():
            answer = f"{answer}\n\n{why.strip()}"
        question = _with_options(field(record, "question"), dict(zip("ABCD", options, strict=True)))
        return exchange(question, answer)._replace(note=note)

    return convert


def _index(value: object) -> int | None:
    """A whole number, also one that went through a table; None for anything else."""
    if isinstance(value, str):
        return int(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_medqa(record: Record) -> bool:
    options = record.get("options")
    return (
        "question" in record and isinstance(options, Mapping | list) and ("answer" in record or "answer_idx" in record)
    )


def medqa(record: Record) -> Made:
    """MedQA-USMLE: four or five options by letter. Raises RowError."""
    options = _lettered(record.get("options"))
    answer = (optional(record, "answer") or "").strip()
    letter = (optional(record, "answer_idx") or "").strip()
    if not letter:
        if not answer:
            raise RowError("no answer")
        letter = next((each for each, text in options.items() if text == answer), "")
    if letter not in options:
        raise RowError("answer out of range", f"{letter or answer} is none of the options")
    if answer and answer != options[letter]:
        raise RowError("answer out of range", f"answer_idx is {letter}, but answer is another option or none")
    return exchange(_with_options(field(record, "question"), options), _choice(letter, options[letter]))


def _lettered(options: object) -> dict[str, str]:
    """By letter. Some copies have a list of {"key", "value"}."""
    if isinstance(options, list):
        if not all(isinstance(option, Mapping) for option in options):
            raise RowError("wrong type", "an option is no object")
        found = {field(option, "key"): field(option, "value").strip() for option in options}
    elif isinstance(options, Mapping):
        # A parquet file has all letters of all its rows, those that a row lacks as null.
        found = {str(letter): field(options, letter).strip() for letter in options if options[letter] is not None}
    else:
        raise RowError("missing field" if options is None else "wrong type", f"options is {kind(options)}")
    if not found:
        raise RowError("missing field", "no options")
    return dict(sorted(found.items()))


def _with_options(question: str, options: Mapping[str, str]) -> str:
    if not question.strip():
        raise RowError("empty question")
    return "\n".join((question.strip(), *(_choice(letter, text) for letter, text in options.items())))


def _choice(letter: str, text: str) -> str:
    return f"({letter}) {text}"


def is_pubmedqa(record: Record) -> bool:
    return ("long_answer" in record and "context" in record) or ("QUESTION" in record and "CONTEXTS" in record)


def pubmedqa(record: Record) -> Made:
    """The abstract and its question; the answer begins with the decision where there is one. Raises RowError."""
    context = record.get("context")
    contexts = context.get("contexts") if isinstance(context, Mapping) else record.get("CONTEXTS", context)
    if isinstance(contexts, str):
        contexts = [contexts]
    if not isinstance(contexts, list) or not all(isinstance(each, str) for each in contexts):
        raise RowError("missing field" if contexts is None else "wrong type", f"the contexts are {kind(contexts)}")
    question = field(record, "question", "QUESTION").strip()
    if not question:
        raise RowError("empty question")
    decision = (optional(record, "final_decision") or "").strip().lower()
    answer = (optional(record, "long_answer", "LONG_ANSWER") or "").strip()
    if decision in _DECISIONS:
        answer = f"{decision.capitalize()}. {answer}".strip()
    return exchange("\n\n".join((*(each.strip() for each in contexts if each.strip()), question)), answer)
