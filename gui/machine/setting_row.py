"""A setting of Signalbox in a form of the Machine page: applied by Enter or by leaving the field."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from core.errors import SignalboxError
from gui.machine.form_row import FormRow
from gui.shell.bridge import Bridge
from gui.shell.tasks import Tasks
from gui.widgets.fields import TextField
from gui.widgets.labels import ORIGIN_PLACES


class SettingRow(FormRow):
    """A number of the settings by its ``name``; emptied it is the default again. What is refused stays typed."""

    def __init__(
        self, bridge: Bridge, name: str, title: str, *, unit: str = "", placeholder: str = "", note: str = ""
    ) -> None:
        self._bridge, self._setting = bridge, name
        self._edit = TextField(number=True, unit=unit, placeholder=placeholder)
        self._edit.set_names(title, note)
        super().__init__(title, self._edit, note)
        self._tasks = Tasks(self)
        self._edit.committed.connect(self._put)
        self._edit.reverted.connect(self.show_setting)
        self.show_setting()

    @property
    def edit(self) -> QWidget:
        return self._edit.edit

    def show_setting(self) -> None:
        """Show what is in force, and where it is set where that is not here."""
        store = self._bridge.core.settings
        value: object = getattr(store.current, self._setting)
        origin = store.origin(self._setting)
        self._edit.show_value(f"{value:,}" if isinstance(value, int) else value)
        place = ORIGIN_PLACES.get(origin)
        self._edit.set_locked(place is not None)
        if place is not None:
            self.note.setText(f"Set in {place}, and that wins.")
            self.note.show()
        self.say("")

    def _put(self, value: object) -> None:
        self._tasks.start(self._write(value), key="write")

    async def _write(self, value: object) -> None:
        store = self._bridge.core.settings
        try:
            if value is None:
                await self._bridge.run_blocking(store.reset, self._setting)
            else:
                await self._bridge.run_blocking(store.set, self._setting, value)
        except SignalboxError as refused:
            self._edit.set_invalid(True)
            self.say(str(refused))
            return
        self._edit.set_invalid(False)
        self.show_setting()
