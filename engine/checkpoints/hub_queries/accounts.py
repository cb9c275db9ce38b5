"""The person's token: which is in use, whose it is, and how a new one is stored.

Imports the Hub's client: for the child process. No token is ever part of a message.
"""

from __future__ import annotations

import os
import re

from huggingface_hub import HfApi, constants, get_token, login
from huggingface_hub.errors import HfHubHTTPError

from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.hub_queries.facts import clipped
from engine.checkpoints.hub_queries.messages import Account

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # in the order in which the client looks
_TOKEN = re.compile(r"[!-~]{1,4096}")  # what fits into a header


def check_token() -> None:
    """Raises FetchFailedError when the token in use fits into no header: the client's own error would quote it."""
    token = get_token()
    if token is not None and not _TOKEN.fullmatch(token):
        raise FetchFailedError(
            f"The token in {_variable() or constants.HF_TOKEN_PATH} holds characters that no token has.",
            "Log in again with: hf auth login, or correct HF_TOKEN.",
            "token",
        )


def who() -> Account | None:
    """Whose token is in use; None without one."""
    if get_token() is None:
        return None
    return Account(_name(HfApi().whoami()), _variable())


def save_token(token: str) -> Account:
    """Store a token for all programs that use the Hub's client, as `hf auth login` does, once the Hub knows it."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise FetchFailedError(
            "That is no token: it is empty, too long, or holds characters that no token has.",
            _where_to_get_one(),
            "token",
        )
    if token.startswith("api_org"):
        raise FetchFailedError(
            "That is an organization's token; the Hub wants a personal one.", _where_to_get_one(), "token"
        )
    try:
        name = _name(HfApi().whoami(token=token))
        login(token=token)  # asks the Hub once more
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise FetchFailedError(
            "The Hub does not know this token. It was not saved.", _where_to_get_one(), "token"
        ) from error
    except OSError as error:
        if error.errno is None:  # about no file: offline mode, for one
            raise
        raise FetchFailedError(
            f"The token is right but could not be saved: {error.strerror}.",
            f"Give yourself access to {constants.HF_TOKEN_PATH} and its folder.",
            "unexpected",
        ) from error
    variable = _variable()
    overridden = bool(variable) and os.environ[variable].strip() != token
    note = f"{variable} is set and comes before the saved token. Unset it to use the saved one." if overridden else ""
    return Account(name, variable, note)


def _variable() -> str:
    """The environment variable from which the client takes the token; empty when none has one."""
    return next((name for name in _VARIABLES if os.environ.get(name)), "")


def _name(account: dict[str, object]) -> str:
    return clipped(account["name"])


def _where_to_get_one() -> str:
    return f"Copy it from {constants.ENDPOINT}/settings/tokens (it begins with hf_)."
