"""From when the user is told: a lever for each threshold, and where else an alert is posted to."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from core.errors import SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import theme
from gui.widgets.fields import TextField
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ResultLine, label
from gui.widgets.lever import BACK_PX, Applied, Lever, Scale
from gui.widgets.origin_tag import OriginTag

if TYPE_CHECKING:
    from core.settings import SettingInfo
    from gui.shell.bridge import Bridge

USUAL_LIMIT_C = 80
"""Where the lever of the temperature stands while nobody set it and no card has told its own limit."""
WEBHOOK = "alert_webhook_url"


_LEVERS: dict[str, tuple[str, str, str, Scale]] = {
    "vram_alert_percent": (
        "GPU memory",
        "Alert from this share in use",
        "%",
        Scale((1, 100), 1, (1, 25, 50, 75, 100)),
    ),
    "temperature_alert_c": (
        "Temperature",
        "If not set: 3 °C below where the card slows down",
        "°C",
        Scale((20, 120), 1, (20, 45, 70, 95, 120)),
    ),
    "kv_cache_alert_percent": (
        "KV cache",
        "When it is full, requests wait",
        "%",
        Scale((1, 100), 1, (1, 25, 50, 75, 100)),
    ),
    "queue_alert_requests": (
        "Queue",
        "Alert from this many waiting requests",
        "waiting",
        Scale((1, 10, 100, 1_000, 100_000)),
    ),
    "alert_after_s": (
        "Duration",
        "How long it has to last; shorter peaks are ignored",
        "s",
        Scale((0, 10, 60, 600, 3_600)),
    ),
}


class Thresholds(QWidget):
    """Each is in force once its lever rests. What is refused stays typed, with the reason."""

    _came = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge
        self._tasks = Tasks(self)
        self.levers: dict[str, Lever] = {}
        self.put_backs: dict[str, IconButton] = {}
        self._limit_c: int | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        self._column.addWidget(label("Alert thresholds", weight=600))
        infos = self._infos()
        for name, (title, effect, unit, scale) in _LEVERS.items():
            lever = Lever(title, effect, scale, self._applied(infos[name]), unit=unit)
            lever.set_low(True)
            lever.committed.connect(self._committer(name))
            self.levers[name] = lever
            row = QHBoxLayout()
            row.addWidget(lever, 1)
            row.addWidget(self._put_back_button(name, title))
            self._column.addLayout(row)
        self._add_webhook()
        self.trouble = ResultLine()
        self._column.addWidget(self.trouble)
        self._came.connect(self._show)
        stop_listening = bridge.core.settings.on_change(lambda _: self._came.emit())
        self.destroyed.connect(lambda: stop_listening())
        self._show()

    def set_card_limit(self, slowdown_c: float | None) -> None:
        """Say where the card slows down: the temperature's threshold stands under it until it is set."""
        limit = None if slowdown_c is None else round(slowdown_c) - 3
        if limit != self._limit_c:
            self._limit_c = limit
            self._show()

    def show_detail(self, detail: str) -> bool:
        """Bring the focus to a setting's control."""
        target = self.levers[detail].slider if detail in self.levers else None
        if detail == WEBHOOK:
            target = self.webhook.edit
        if target is not None:
            target.setFocus()
        return target is not None

    def _add_webhook(self) -> None:
        self.webhook = TextField(placeholder="None")
        self.webhook.set_names("Webhook", "Each alert is posted to this address, in Slack’s format")
        self.webhook.committed.connect(self._committer(WEBHOOK))
        self.webhook.reverted.connect(self._show)
        self._tag = OriginTag()
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(label("Webhook", weight=500))
        words.addWidget(
            label("Each alert is also posted to this address, in Slack’s format", "caption", level="2")
        )
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self.webhook, 1)
        row.addWidget(self._tag)
        row.addWidget(self._put_back_button(WEBHOOK, "Webhook"))
        self._column.addSpacing(8)
        self._column.addLayout(words)
        self._column.addLayout(row)

    def _put_back_button(self, name: str, title: str) -> IconButton:
        button = IconButton("arrow-counter-clockwise", f"Put {title} back", size=BACK_PX)
        button.clicked.connect(lambda: self._tasks.start(self._put_back(name)))
        keep = button.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        button.setSizePolicy(keep)
        self.put_backs[name] = button
        return button

    def _infos(self) -> dict[str, SettingInfo]:
        return {info.name: info for info in self._bridge.core.settings.describe()}

    def _applied(self, info: SettingInfo) -> Applied:
        value = info.value
        if value is None:
            value = USUAL_LIMIT_C if self._limit_c is None else self._limit_c
        number = Decimal(str(value))
        whole = number == number.to_integral_value()
        return Applied(
            value=int(number) if whole else number,
            origin=info.origin,
            locked=info.env_name if info.locked else "",
        )

    def _show(self) -> None:
        infos = self._infos()
        for name, lever in self.levers.items():
            applied = self._applied(infos[name])
            if applied != lever.applied or lever.is_changed:
                lever.apply(applied)
        for name, button in self.put_backs.items():
            button.setVisible(infos[name].origin == "panel")
        hook = infos[WEBHOOK]
        self.webhook.show_value(None if hook.value is None else str(hook.value))
        self.webhook.set_locked(hook.locked)
        self._tag.set_origin(hook.origin, locked=hook.locked, tooltip=hook.env_name if hook.locked else "")

    def _committer(self, name: str) -> Callable[[object], None]:
        def commit(value: object) -> None:
            if name in self.levers and value == self.levers[name].applied.value:
                return
            self._tasks.start(self._put(name, value))

        return commit

    async def _put(self, name: str, value: object) -> None:
        store = self._bridge.core.settings
        try:
            if value is None or value == "":
                await self._bridge.run_blocking(store.reset, name)
            else:
                await self._bridge.run_blocking(store.set, name, _plain(value))
        except SignalboxError as error:
            self._refuse(name, error)
        else:
            self._accept()

    async def _put_back(self, name: str) -> None:
        try:
            await self._bridge.run_blocking(self._bridge.core.settings.reset, name)
        except SignalboxError as error:
            self._refuse(name, error)
            return
        self._accept()
        self.show_detail(name)  # the button is gone

    def _accept(self) -> None:
        self.trouble.clear()
        self.webhook.set_invalid(False)
        self._show()

    def _refuse(self, name: str, error: SignalboxError) -> None:
        self.webhook.set_invalid(name == WEBHOOK)
        self.trouble.tell("danger", "Not changed.", str(error))

    # Places

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        room = self.width() - theme().px(BACK_PX) - self._column.spacing() - 8
        for lever in self.levers.values():
            lever.fit(room)


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value
