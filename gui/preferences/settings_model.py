"""The settings as the panel sees them: written off the GUI loop, announced on the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from core.settings import SettingInfo, Settings, SettingsStore
    from gui.shell.bridge import Bridge


class SettingsModel(QObject):
    """Carries reads and writes between setting rows and the core's ``SettingsStore``.

    Signals:
        changed: some setting has a new value or origin, whoever changed it.
    """

    changed = Signal()

    def __init__(self, bridge: Bridge, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.bridge = bridge
        # The store calls on the thread that changed it; the signal crosses to the panel's by itself.
        stop_listening = self.store.on_change(self._announce)
        self.destroyed.connect(lambda: stop_listening())

    @property
    def store(self) -> SettingsStore:
        return self.bridge.core.settings

    @property
    def current(self) -> Settings:
        return self.store.current

    def infos(self) -> dict[str, SettingInfo]:
        """Every setting by its name, in the store's order."""
        return {info.name: info for info in self.store.describe()}

    async def put(self, name: str, value: object) -> None:
        """Set ``name`` for the next request and for the next start.

        Raises:
            InvalidRequest: the value is not allowed; nothing was changed.
        """
        await self.bridge.run_blocking(self.store.set, name, value)

    async def put_back(self, name: str) -> None:
        """Forget what the panel set, so that the next origin down holds again."""
        await self.bridge.run_blocking(self.store.reset, name)

    def _announce(self, settings: Settings) -> None:
        del settings  # the rows read the store, which also has the origins
        self.changed.emit()
