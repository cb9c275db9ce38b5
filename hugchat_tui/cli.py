"""`hugchat` and its subcommands. Thin: each calls one function elsewhere, imported only when it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

EXIT_FAILED = 1
EXIT_ASKED_WRONGLY = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 asked wrongly, 130 interrupted."""
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 (whatever it is, the log has it and the person is told)
        from hugchat_tui.common.crash import report

        print(f"hugchat: {report(error)}", file=sys.stderr)
        return EXIT_FAILED


def _run(arguments: Sequence[str]) -> int:
    if not arguments:
        return _open_app({})  # the usual start does not wait for a parser to be built
    args = _parser().parse_args(arguments)
    command: str | None = args.command
    if command == "doctor":
        from hugchat_tui.doctor import main as doctor

        return doctor(as_json=args.json)
    from hugchat_tui.settings import SettingsError, load_settings

    flags = {name: value for name in _FLAGS if (value := getattr(args, name.replace(".", "_"), None)) is not None}
    if command == "chat":
        from hugchat_tui.chat_command import main as chat

        try:
            settings = load_settings(flags)
        except SettingsError as error:
            print(f"hugchat: {error}", file=sys.stderr)
            return EXIT_ASKED_WRONGLY
        return chat(settings, " ".join(args.question), system=args.system, as_json=args.json)
    if command == "models":
        from hugchat_tui.models_command import main as models

        try:
            settings = load_settings(flags)
        except SettingsError as error:
            print(f"hugchat: {error}", file=sys.stderr)
            return EXIT_ASKED_WRONGLY
        return models(settings, args)
    if command == "sft":
        from hugchat_tui.sft_command import main as sft

        try:
            settings = load_settings(flags)
        except SettingsError as error:
            print(f"hugchat: {error}", file=sys.stderr)
            return EXIT_ASKED_WRONGLY
        return sft(settings, args)

    return _open_app(flags)


def _open_app(flags: Mapping[str, object]) -> int:
    from hugchat_tui.common.collector import hold
    from hugchat_tui.settings import SettingsError, load_settings

    hold()
    problems: list[str] = []
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        # A mistake in the file must not keep anyone from their conversations: start with the defaults and say it.
        problems = [*error.problems, "The settings above were left out and the usual ones hold."]
        settings = error.usable
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        print('hugchat: the app needs a terminal. In a pipe, ask with: hugchat chat "question"', file=sys.stderr)
        return EXIT_ASKED_WRONGLY
    from hugchat_tui.app import HugChatApp

    app = HugChatApp(settings, problems)
    app.run()
    return app.return_code or 0


# Settings that have a flag, by the setting's name; the flag is the last part.
_FLAGS = (
    "model.default",
    "model.device",
    "model.dtype",
    "appearance.theme",
    "sampling.temperature",
    "sampling.top_k",
    "sampling.top_p",
    "sampling.min_p",
    "sampling.repetition_penalty",
    "sampling.max_new_tokens",
    "sampling.seed",
)


class _Version(argparse.Action):
    """argparse's own version action wants the text at every start, and to look it up takes milliseconds."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"hugchat {version('hugchat-tui')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hugchat",
        description="Chat with local Hugging Face checkpoints. Without a command, opens the app.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is, and leave")
    _model_flags(parser)
    parser.add_argument("--theme", dest="appearance_theme", metavar="NAME", help="the colours")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    chat = commands.add_parser(
        "chat",
        help="answer one question on stdout",
        description='Answer one question on stdout. A pipe is read as well: cat notes.txt | hugchat chat "summarise"',
    )
    chat.add_argument("question", nargs="*", help="the question; what a pipe brings is put below it")
    _model_flags(chat)
    chat.add_argument("--system", metavar="TEXT", help="the system prompt")
    chat.add_argument("--temperature", dest="sampling_temperature", type=float, metavar="T", help="0 is greedy")
    chat.add_argument("--top-k", dest="sampling_top_k", type=int, metavar="K")
    chat.add_argument("--top-p", dest="sampling_top_p", type=float, metavar="P")
    chat.add_argument("--min-p", dest="sampling_min_p", type=float, metavar="P")
    chat.add_argument("--repetition-penalty", dest="sampling_repetition_penalty", type=float, metavar="R")
    chat.add_argument("--max-new-tokens", dest="sampling_max_new_tokens", type=int, metavar="N")
    chat.add_argument("--seed", dest="sampling_seed", type=int, metavar="N", help="same seed, same text")
    chat.add_argument("--json", action="store_true", help="one JSON document on stdout")

    from hugchat_tui.models_command import add_parser as add_models

    add_models(commands)
    from hugchat_tui.sft_command import add_parser as add_sft

    add_sft(commands)
    doctor = commands.add_parser("doctor", help="say what was found on this machine")
    doctor.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def _model_flags(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a subcommand's parser must not overwrite with its default what stood before the subcommand.
    default = argparse.SUPPRESS
    parser.add_argument(
        "--model",
        dest="model_default",
        metavar="REF",
        default=default,
        help="starter, a Hub id, a folder or a GGUF file",
    )
    parser.add_argument(
        "--device",
        dest="model_device",
        metavar="DEVICE",
        default=default,
        help="auto, cpu, cuda, cuda:N or mps",
    )
    parser.add_argument(
        "--dtype",
        dest="model_dtype",
        metavar="DTYPE",
        default=default,
        help="auto, float32, bfloat16 or float16",
    )


if __name__ == "__main__":
    sys.exit(main())
