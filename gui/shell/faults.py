"""What nobody caught: logged with secrets hidden, shown once with details to copy, and the panel goes on.

Three hooks are needed: slots end in ``sys.excepthook``, threads in ``threading.excepthook``, and tasks nobody
awaited in the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import sys
import threading
from types import TracebackType
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from core import redacted_traceback
from gui.theme.theme import set_property
from gui.widgets.copying import Copier
from gui.widgets.labels import plain_label

log = logging.getLogger(__name__)


class FaultReporter(QObject):
    """Installs the three hooks. ``parent_widget`` is the window the dialog opens over, once there is one."""

    _fault = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.parent_widget: QWidget | None = None
        self._dialog: QDialog | None = None
        # A signal hops to the panel's thread, wherever the fault happened.
        self._fault.connect(self._show, Qt.ConnectionType.QueuedConnection)

    def install(self) -> None:
        sys.excepthook = self._unhandled
        threading.excepthook = lambda args: self._take(args.exc_value)

    def install_on(self, loop: asyncio.AbstractEventLoop) -> None:
        def handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if isinstance(error, BaseException):
                self._take(error)
            else:
                log.error("asyncio: %s", context.get("message"))

        loop.set_exception_handler(handler)

    def _unhandled(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        del kind, trace
        self._take(error)

    def _take(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
            return
        details = redacted_traceback(error)
        log.error("nobody caught this\n%s", details)
        self._fault.emit(details)

    def _show(self, details: str) -> None:
        if self._dialog is not None:
            return
        dialog = QDialog(self.parent_widget)
        dialog.setWindowTitle("Something went wrong in Signalbox")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        title = plain_label("Something went wrong in Signalbox")
        set_property(title, role="title")
        sentence = plain_label(
            "This is a fault of the program. Your conversations and the ledger are on the disk, "
            "and the panel goes on. Please copy the details into a report; they hold no keys and no prompts."
        )
        sentence.setWordWrap(True)
        text = QPlainTextEdit(f"Python {platform.python_version()}, {platform.platform()}\n\n{details}")
        text.setReadOnly(True)
        text.setAccessibleName("Details")
        set_property(text, role="mono")
        buttons = QDialogButtonBox()
        copy = buttons.addButton("Copy details", QDialogButtonBox.ButtonRole.ActionRole)
        Copier(copy, text.toPlainText)
        buttons.addButton("Close", QDialogButtonBox.ButtonRole.RejectRole)
        buttons.rejected.connect(dialog.reject)
        layout = QVBoxLayout(dialog)
        for widget in (title, sentence, text, buttons):
            layout.addWidget(widget)
        dialog.resize(680, 420)
        dialog.destroyed.connect(self._closed)
        self._dialog = dialog
        dialog.open()

    def _closed(self) -> None:
        self._dialog = None
