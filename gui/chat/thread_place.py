"""Where in a conversation its reader is, and how to get to a place of it that may not be laid out yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gui.chat.message_view import MessageView
from gui.chat.thread_view import ThreadView

TURNS_TO_LAY_OUT = 3
"""Qt lays out what was made when the loop turns: the message, then its column, then the scroll bar's range."""


def views_in_sight(thread: ThreadView) -> list[MessageView]:
    """Return the messages of which something can be seen, from the top."""
    top = thread.verticalScrollBar().value()
    bottom = top + thread.viewport().height()
    return [view for view in thread.views() if view.geometry().bottom() >= top and view.y() <= bottom]


def place_in(thread: ThreadView) -> tuple[str, int]:
    """Return the message at the top and how many pixels of it are above; no message while the end is followed."""
    value = thread.verticalScrollBar().value()
    if thread.following:
        return "", 0
    for view in thread.views():
        if view.geometry().bottom() >= value:
            return view.message_id, value - view.y()
    return "", 0


async def go_to_place(thread: ThreadView, message_id: str, offset_px: int) -> None:
    """Scroll so that ``offset_px`` of a message are above the top; a message that is gone is left alone."""
    await go_to_part(thread, message_id, lambda _view: offset_px)


async def go_to_part(
    thread: ThreadView, message_id: str, top_px: Callable[[MessageView], int | None]
) -> MessageView | None:
    """Scroll to a part of a message, once that is laid out; returns its view.

    ``top_px`` says, given the view, what shall be at the top, in pixels from the message's; ``None`` stays here.
    """
    session = thread.session
    view = await thread.reveal(message_id)
    if view is None:
        return None
    for _ in range(TURNS_TO_LAY_OUT):
        await asyncio.sleep(0)
    if thread.session is not session or thread.view_of(message_id) is not view:
        return None
    thread.lay_out()
    top = top_px(view)
    if top is not None:
        thread.scroll_to(view, top)
    return view
