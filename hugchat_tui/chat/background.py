"""Work that a widget starts and does not wait for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

from textual.dom import DOMNode
from textual.worker import Worker

from hugchat_tui.common.type_ahead import TypeAheadApp
from hugchat_tui.conversations.errors import StoreError

P = ParamSpec("P")
N = TypeVar("N", bound=DOMNode)
Method = Callable[Concatenate[N, P], Coroutine[None, None, None]]


Starter = Callable[Concatenate[N, P], Worker[None]]


def background(
    group: str, *, exclusive: bool = False, opens_dialog: bool = False
) -> Callable[[Method[N, P]], Starter[N, P]]:
    """Make a method run as a Textual worker. A store that fails is told, and ends this work only, not the program.

    group and exclusive: as `textual.work` has them. opens_dialog: what is typed from now on is meant for the dialog.
    """

    def decorate(method: Method[N, P]) -> Starter[N, P]:
        async def telling(node: N, *args: P.args, **kwargs: P.kwargs) -> None:
            try:
                await method(node, *args, **kwargs)
            except StoreError as error:
                node.app.notify(str(error), severity="error", timeout=10)
            finally:
                if opens_dialog and isinstance(node.app, TypeAheadApp):
                    node.app.hand_on_keys()

        @wraps(method)
        def begin(node: N, /, *args: P.args, **kwargs: P.kwargs) -> Worker[None]:
            if opens_dialog and isinstance(node.app, TypeAheadApp):
                node.app.hold_keys()
            work = partial(telling, node, *args, **kwargs)
            return node.run_worker(work, method.__name__, group, exclusive=exclusive)

        return begin

    return decorate
