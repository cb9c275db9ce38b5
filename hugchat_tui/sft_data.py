"""`hugchat sft data`: training data looked at and built from the shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.models_text import table
from hugchat_tui.sft_text import built_text

if TYPE_CHECKING:
    from engine.checkpoints.model import Checkpoint
    from hugchat_tui.sft_command import Command
    from sft.data.conversation import Conversation
    from sft.data.preview import Shown
    from sft.data.sources import Source

# Around what is trained.
_ON, _OFF = "⟦", "⟧"


def data(command: Command) -> int:
    """One action of `hugchat sft data`; returns the exit code."""
    actions: dict[str, Callable[[Command], int]] = {
        "formats": _formats,
        "corpora": _corpora,
        "fetch": _fetch,
        "stats": _stats,
        "preview": _preview,
        "build": _build,
    }
    return actions[command.args.what](command)


def _formats(command: Command) -> int:
    from sft.data.formats import FORMATS

    command.answer(FORMATS, table(("format", "rows that look like"), list(FORMATS.items())))
    return 0


def _corpora(command: Command) -> int:
    from sft.data.corpora import CORPORA

    rows = [
        (each.name, each.language, f"{each.rows:,}" if each.rows else "", each.licence, each.hub, each.title)
        for each in CORPORA.values()
    ]
    notes = "\n".join(f"{each.name}: {each.notes}" for each in CORPORA.values() if each.notes)
    listed = table(("corpus", "", "rows", "licence", "Hub data set", ""), rows, frozenset({2}))
    command.answer(list(CORPORA.values()), f"{listed}\n\n{notes}")
    return 0


def _fetch(command: Command) -> int:
    from sft.data.fetching import fetch

    fetched = [(name, fetch(name)) for name in _named(command)]
    document = [{"name": name, "path": path} for name, path in fetched]
    command.answer(document, "\n".join(clean(str(path)) for _, path in fetched))
    return 0


def _stats(command: Command) -> int:
    from sft.data.journal import problems_of
    from sft.data.prepare import Selection, prepare
    from sft.data.tokenizer import read_chat_tokenizer

    sources = _sources(command)
    base = _base(command)
    command.progress.show("reading the tokenizer", 0, 0)
    chat = read_chat_tokenizer(base, command.args.template)

    def show(rows: int, done: int, total: int, documents: int, tokens: int) -> None:
        command.progress.show(f"{rows:,} rows, {documents:,} documents, {tokens:,} tokens", done, total)

    selection = Selection(sources=sources, max_length=command.args.max_length)
    meta = prepare(selection, chat, command.data_dir, bad_share=1.0, progress=show).meta
    facts = [
        f"{meta.rows:,} rows: {meta.documents:,} documents, {meta.duplicates:,} duplicates, {meta.bad_rows:,} bad",
        f"{meta.tokens:,} tokens of {base.name}, {meta.trained_tokens:,} of them trained",
        meta.lengths.sentence(meta.too_long),
        *problems_of(meta.rows, meta.bad, meta.noted).words(),
    ]
    command.answer(meta, clean("\n".join(facts)))
    return 0


def _preview(command: Command) -> int:
    from sft.data.conversation import BadRow
    from sft.data.preview import preview
    from sft.data.sources import read
    from sft.data.tokenizer import read_chat_tokenizer

    sources = _sources(command)
    command.progress.show("reading the tokenizer", 0, 0)
    chat = read_chat_tokenizer(_base(command), command.args.template)
    rows: list[Conversation] = []
    for source in sources:
        for row in read(source):
            if isinstance(row, BadRow):
                command.progress.say(f"{row.source}, line {row.line:,}: {row.reason} {row.detail}".rstrip())
            else:
                rows.append(row)
            if len(rows) == command.args.rows:
                break
    shown = preview(rows, chat, command.args.rows, command.args.max_length)
    command.answer(shown, "\n\n".join(map(_shown, shown)))
    return 0


def _shown(row: Shown) -> str:
    """A row as the model sees it, with what is trained between double brackets."""
    place = clean_line(f"{row.source}, line {row.line:,}")
    if row.refused:
        return f"{place}: left out, {clean_line(row.refused)}"
    changed = f", {row.changed} from {row.full_tokens:,}" if row.changed else ""
    counts = f"{row.tokens:,} tokens, {row.trained_tokens:,} trained{changed}"
    text = "".join(f"{_ON}{clean(each.text)}{_OFF}" if each.trained else clean(each.text) for each in row.pieces)
    return f"{place}: {counts}\n{text}"


def _build(command: Command) -> int:
    from hugchat_tui.sft_command import AskedWronglyError
    from sft.data.building import Progress, TooManyBadRowsError, build, mix

    sources = _sources(command)
    out = command.args.out
    if out is None:
        raise AskedWronglyError("Say where to write with --out: a folder for HugChat's three files, or a .jsonl file.")

    def report(progress: Progress) -> None:
        command.progress.show(f"{progress.source}: {progress.rows:,} rows, {progress.written:,} written", 0, 0)

    write = mix if out.suffix in (".json", ".jsonl") else build
    try:
        built = write(out, sources, seed=command.args.seed, bad_share=command.args.bad_share, report=report)
    except TooManyBadRowsError as error:
        for line in error.problems.words():
            command.progress.say(line)
        raise
    for line in built.problems.words():
        command.progress.say(line)
    command.answer({str(path): count for path, count in built.rows.items()}, built_text(built.rows))
    return 0


def _named(command: Command) -> list[str]:
    from hugchat_tui.sft_command import AskedWronglyError

    if not command.args.sources:
        raise AskedWronglyError(f"Name data: hugchat sft data {command.args.what} rows.jsonl")
    named: list[str] = command.args.sources
    return named


def _sources(command: Command) -> tuple[Source, ...]:
    """Each source with the --weight and --cap that stand at its place."""
    from hugchat_tui.sft_command import AskedWronglyError
    from sft.data.sources import Source

    args, paths = command.args, _named(command)
    if len(args.weight) > len(paths) or len(args.cap) > len(paths):
        raise AskedWronglyError("There are more --weight or --cap than sources.")
    weights = [*args.weight, *[1.0] * (len(paths) - len(args.weight))]
    caps = [*args.cap, *[0] * (len(paths) - len(args.cap))]
    each = zip(paths, weights, caps, strict=True)
    return tuple(Source(path, args.format, weight, cap) for path, weight, cap in each)


def _base(command: Command) -> Checkpoint:
    from hugchat_tui.sft_run import ensure_base
    from sft.config import Recipe, with_values

    return ensure_base(command, with_values(Recipe(), {"model.base": command.args.data_model}))
