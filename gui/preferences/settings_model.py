"""The settings as the panel sees them: written off the GUI loop, announced on the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from core import SettingDoubt
    from core.settings import SettingInfo, Settings, SettingsStore
    from gui.shell.bridge import Bridge


class SettingsModel(QObject):
    """Carries reads and writes between setting rows and the core's ``SettingsStore``.

    Signals:
        changed: some setting has a new value or origin, whoever changed it.
        troubled: the rows whose entry was refused are others than before.
    """

    changed = Signal()
    troubled = Signal()

    def __init__(self, bridge: Bridge, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.bridge = bridge
        self._refused: list[str] = []
        # The store calls on the thread that changed it; the signal crosses to the panel's by itself.
        stop_listening = self.store.on_change(self._announce)
        self.destroyed.connect(lambda: stop_listening())

    @property
    def store(self) -> SettingsStore:
        return self.bridge.core.settings

    @property
    def current(self) -> Settings:
        return self.store.current

    @property
    def refused(self) -> tuple[str, ...]:
        """The settings whose entry was typed here and refused; the oldest first."""
        return tuple(self._refused)

    @property
    def not_in_force(self) -> tuple[str, ...]:
        """Those, and the ones of which a value stands in a file or the environment that can't be used."""
        stored = [problem.setting for problem in self.store.problems if problem.is_refused]
        return tuple(dict.fromkeys([*self._refused, *stored]))

    def report(self, name: str, *, is_refused: bool) -> None:
        """A row says whether what was typed into it was refused."""
        if is_refused == (name in self._refused):
            return
        if is_refused:
            self._refused.append(name)
        else:
            self._refused.remove(name)
        self.troubled.emit()

    def infos(self) -> dict[str, SettingInfo]:
        """Every setting by its name, in the store's order."""
        return {info.name: info for info in self.store.describe()}

    async def doubt(self, name: str, value: object) -> SettingDoubt | None:
        """Return what doubt there is about ``value`` before it is set, ``None`` for none.

        Raises:
            InvalidRequest: it names a model, or a file, that is not there.
        """
        return await self.bridge.call(self.bridge.core.check_setting(name, value))

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
