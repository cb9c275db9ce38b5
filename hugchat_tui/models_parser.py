"""The command line of `hugchat models`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any


class _Parser(argparse.ArgumentParser):
    """Says itself what it does not know, with its own usage: argparse leaves that to the root, which shows its own."""

    # Any, as every overload of argparse's own has something else.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command `models` and its own commands."""
    models = commands.add_parser("models", help="find, download, check and delete checkpoints")
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)

    def action(name: str, help: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return parser

    action("ls", "list the checkpoints of this machine, and all else in the Hugging Face cache")
    search = action("search", "search the Hub; without words, the models we know to be good")
    search.add_argument("text", nargs="*", help="words of the name; with an option below, none means all of the Hub")
    # None where nothing was said: an option without words asks the Hub, too.
    search.add_argument("--kind", choices=("models", "gguf", "adapters", "all"), help="what to look for (models)")
    search.add_argument("--sort", choices=("downloads", "likes", "updated"), help="what comes first (downloads)")
    search.add_argument("--limit", type=_positive, metavar="N", help="at most so many results (20)")
    pull = action("pull", "download from the Hub: org/name, org/name@revision, org/name/file.gguf, or starter")
    pull.add_argument("reference")
    pull.add_argument("--detach", action="store_true", help="return at once; it goes on by itself")
    remove = action("rm", "delete checkpoints, after a look at what that frees and breaks")
    remove.add_argument("names", nargs="+", metavar="name")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    verify = action("verify", "compare files with their checksums; needs no network. Without names, all of them")
    verify.add_argument("names", nargs="*", metavar="name")
    show = action("show", "say all that is known of a checkpoint")
    show.add_argument("name")
    merge = action("merge", "merge an adapter into its base: a new model")
    merge.add_argument("adapter")
    merge.add_argument("new", metavar="new-name")
    convert = action("convert", "convert a GGUF file or pickled weights to safetensors: a new model")
    convert.add_argument("name")
    convert.add_argument("new", metavar="new-name")
    export = action("export", "copy a checkpoint to a plain folder")
    export.add_argument("name")
    export.add_argument("folder", type=named_folder)


def named_folder(text: str) -> Path:
    from engine.checkpoints.paths import full_path

    return full_path(Path(text))


def _positive(text: str) -> int:
    with suppress(ValueError):
        if (value := int(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
