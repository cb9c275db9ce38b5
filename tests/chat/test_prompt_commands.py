"""What counts as a command in the prompt."""

from __future__ import annotations

import pytest

from hugchat_tui.chat.prompt_commands import UnknownCommandError, is_command, parse_command


@pytest.mark.parametrize(
    ("text", "action", "argument"),
    [
        ("<clear>", "chat.clear", ""),
        (" <clear>\n", "chat.clear", ""),
        ("<model_name_or_path=wjn1996/hugnlp-hugchat-gpt2>", "chat.model", "wjn1996/hugnlp-hugchat-gpt2"),
        ("<model_name_or_path= /models/my model >", "chat.model", "/models/my model"),
        ("/new", "chat.new", ""),
        ("/model starter", "chat.model", "starter"),
        ("/model", "chat.model", ""),
        ("/pane-zoom", "pane.zoom", ""),
        ("/rename  A better title ", "chat.rename", "A better title"),
    ],
)
def test_commands(text: str, action: str, argument: str) -> None:
    command = parse_command(text)
    assert command is not None
    assert (command.action.id, command.argument) == (action, argument)


@pytest.mark.parametrize(
    "text",
    [
        "What does <clear> do?",
        "<model_name_or_path=>",
        "/usr/bin/env python: what is that?",
        " /nosuchcommand",
        "/nosuchcommand at all",
        "/nonexistent/dir/x",
        "/new/",
        " /new",
        "/new things to try",
        "/model a\nb",
        "hello /new",
    ],
)
def test_questions_stay_questions(text: str) -> None:
    assert parse_command(text) is None


def test_a_word_that_names_no_action_is_not_asked() -> None:
    with pytest.raises(UnknownCommandError, match=r"no command /renam\. Did you mean /rename\?.*put a blank before it"):
        parse_command("/renam")
    with pytest.raises(UnknownCommandError, match=r"no command /foobar\. To ask it"):
        parse_command("/foobar\n")
    assert is_command("/foobar") and is_command("/new") and not is_command(" /foobar")
