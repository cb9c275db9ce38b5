"""What is asked before the app closes, while something is going on or could be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from hugchat_tui.common.clean import clean
from hugchat_tui.common.dialogs import ChoiceDialog
from hugchat_tui.common.format import counted
from hugchat_tui.conversations.errors import StoreError

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp


async def replies_may_end(app: HugChatApp) -> bool:
    """Ask whether to wait for replies that are being written or to stop them; False: stay."""
    sessions = app.chat.sessions if app.chat is not None else []
    writing = [session for session in sessions if session.busy]
    if not writing:
        return True
    choices = [("w", "Wait for it, then quit"), ("s", "Stop it, keep what there is, and quit"), ("c", "Stay")]
    choice = await app.push_screen_wait(ChoiceDialog("An answer is being written", choices))
    if choice == "w":
        app.notify("The app closes when the answer is complete.")
    elif choice == "s":
        for session in writing:
            session.stop()
    else:
        return False
    for session in writing:
        await session.wait()
    return True


async def drafts_are_kept(app: HugChatApp) -> bool:
    """Store what is in the prompts; where that fails, ask whether to quit all the same."""
    try:
        await app.keep_drafts()
    except StoreError as error:
        choices = [("q", "Quit without it"), ("c", "Stay")]
        words = Content(clean(str(error)))
        return await app.push_screen_wait(ChoiceDialog("What you typed could not be stored", choices, words)) == "q"
    return True


async def downloads_go_on(app: HugChatApp) -> bool | None:
    """Whether downloads go on when the app has closed, which the person is asked; None: stay.

    Long jobs on this machine end with the app, and nothing of them is left; that is said, too.
    """
    library = app.library
    if library is None or not library.running:
        return False
    downloads = [status for status in library.downloading if not status.detached]
    jobs = library.jobs.running
    if not downloads and not jobs:
        return False  # what goes on anyway need not be asked about
    lines = [f"{work.verb} {work.name} ends with the app; nothing of it is left." for work in jobs]
    if downloads:
        choices = [
            ("s", "Stop; they go on from there another time"),
            ("g", "Let them go on without the app"),
            ("c", "Stay"),
        ]
        title = f"{counted(len(downloads), 'download')} running"
    else:
        choices = [("s", "Stop and quit"), ("c", "Stay")]
        title = "The library is at work"
    body = Content(clean("\n".join(lines))) if lines else None
    choice = await app.push_screen_wait(ChoiceDialog(title, choices, body))
    return {"s": False, "g": True}.get(choice or "")
