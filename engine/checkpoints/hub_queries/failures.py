"""Why a question failed, in words. Imports the Hub's client: for the child process."""

from __future__ import annotations

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from engine.checkpoints.hub_errors import FetchFailedError, in_words
from engine.checkpoints.reading import UnreadableError


def failure_of(error: Exception, about: str) -> FetchFailedError:
    """about: the repository in question, or what else was asked for."""
    if isinstance(error, FetchFailedError):
        return error
    if isinstance(error, UnreadableError):
        return FetchFailedError(f"{error}.", "", "unusable")
    if isinstance(error, HFValidationError):
        return FetchFailedError(f"{about} cannot be the id of a repository.", "An id is org/name.", "not-found")
    known = in_words(error, about)
    if known.reason != "unexpected":
        return known
    if isinstance(error, HfHubHTTPError):  # its own text quotes the server, which may quote the token
        return FetchFailedError(
            f"The Hub refused to answer about {about} (HTTP {error.response.status_code}).",
            "Try again; if it stays so, another version of this program or of huggingface_hub may be needed.",
            "server",
        )
    # What the client and we trip over when the answer is no JSON, or not that of the Hub.
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError):
        return FetchFailedError(
            f"{constants.ENDPOINT} answered with something that the Hub does not say ({type(error).__name__}).",
            "A proxy or a login page may have answered in its place: check the network and HF_ENDPOINT.",
            "server",
        )
    what = (str(error).strip().splitlines() or ["no reason given"])[0]
    return FetchFailedError(
        f"The Hub could not be asked about {about}: {type(error).__name__}: {what}", "Try again.", "unexpected"
    )
