"""The header strip: the page's title, then the state of Local, the API, today's requests and the month's money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from core import format_cost, format_limit, unsettled_amount
from gui.shell.local_words import local_words
from gui.shell.pill import BAR_DROP, DETAIL_DROP, ICON_DROP, LIMIT_DROP, NO_LIMIT, SHORT, Pill, Tone
from gui.theme.theme import set_property, theme
from gui.widgets.formatting import count
from gui.widgets.inline_row import InlineRun
from gui.widgets.labels import plain_label
from gui.widgets.marks import LampState

if TYPE_CHECKING:
    from core import Alert, ApiStatus, CoreStatus, MachineSample

_HEIGHT, _MARGIN = 48, 16
_BUDGET_WARNING = 0.95
"""From this share of the limit, spent and held together, the month's pill is outlined."""


def api_words(status: ApiStatus) -> tuple[LampState, str, str, Tone]:
    """Return lamp, state word, detail and border of the API pill."""
    model = short_model(status.model)
    match status.phase:
        case "key_set":
            # Green is for what has answered; of this key nobody has heard anything yet.
            return "stopped", "Key set", model or status.detail, ""
        case "reachable":
            return "ready", "Ready", model or status.detail, ""
        case "no_key":
            return "nokey", "No key", status.detail or "add one", ""
        case "closed":
            return "failed", "Closed", status.detail, "danger"
        case "key_held_back":
            return "alert", "Key held back", status.detail, "held"
        case "key_refused":
            return "failed", "Key refused", status.detail, "danger"
        case "no_credit":
            return "failed", "No credit", status.detail, "danger"
        case "not_permitted":
            return "failed", "Not permitted", model, "danger"
        case "model_unknown":
            return "failed", "No model", model, "danger"
        case "rate_limited":
            return "alert", "Rate limited", status.detail, "held"
        case "overloaded":
            return "alert", "Overloaded", status.detail, "held"
        case "unreachable":
            return "alert", "Not answering", status.detail, "held"
        case "checking":
            return "busy", "Checking", status.detail, ""


def short_model(model: str | None) -> str:
    """Return ``sonnet-4-6`` for ``claude-sonnet-4-6-20260501``: the family says enough in a pill."""
    if not model:
        return ""
    parts = model.removeprefix("claude-").split("-")
    if len(parts) > 1 and len(parts[-1]) == 8 and parts[-1].isdigit():
        parts.pop()
    return "-".join(parts)


class HeaderStrip(QWidget):
    """48 px. Each pill is a button; ``pill_clicked`` names it: local, api, requests or spend."""

    pill_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Status")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._title = plain_label(parent=self)
        set_property(self._title, role="title")
        self.pills = {name: Pill(self) for name in ("local", "api", "requests", "spend")}
        self._row = QHBoxLayout(self)
        self._row.addWidget(self._title)
        self._row.addStretch(1)
        for name, pill in self.pills.items():
            pill.hide()
            pill.clicked.connect(lambda _checked=False, which=name: self.pill_clicked.emit(which))
            self._row.addWidget(pill)
        theme().changed.connect(self._restyle)
        self._restyle()

    def set_title(self, title: str) -> None:
        self._title.setText(title)
        self._fit()

    def set_status(
        self,
        status: CoreStatus,
        *,
        alerts: Sequence[Alert] = (),
        sample: MachineSample | None = None,
    ) -> None:
        """Show a snapshot of the core, and what the machine needs somebody for."""
        running = 0 if status.queue is None else status.queue.running
        words = local_words(
            status.local, alerts=alerts, sample=sample, drained=status.local_drained, left=running
        )
        self._show_side("local", "Local", "cpu", *words, full=status.local.model or "")
        self._show_side("api", "API", "cloud", *api_words(status.api), full=status.api.model or "")
        self._show_requests(status)
        self._show_spend(status)
        for pill in self.pills.values():
            pill.show()
        self._fit()

    def _show_side(
        self,
        side: str,
        label: str,
        icon: str,
        lamp: LampState,
        word: str,
        detail: str,
        tone: Tone,
        *,
        full: str,
    ) -> None:
        runs = [
            InlineRun(kind="icon", name=icon, token=f"{side}_text", drop=ICON_DROP),
            InlineRun(text=label, token="text3"),
            InlineRun(kind="lamp", name=lamp),
            InlineRun(text=word, token="text", weight=600),
        ]
        if detail:
            runs.append(InlineRun(text=detail, drop=DETAIL_DROP))
        said = ", ".join(part for part in (detail, full if full != detail else "") if part)
        self.pills[side].set_runs(runs, tone=tone, name=f"{label}: {word}", description=said)

    def _show_requests(self, status: CoreStatus) -> None:
        done, limit = status.local_requests_today, status.routing_threshold
        if done is None:
            self._show_unknown("requests", "Local today")
            return
        runs = [
            InlineRun(text="Local today", short="Today", token="text3"),
            InlineRun(text=count(done), token="text", weight=600),
            InlineRun(text=f"of {count(limit)}", gap=4, drop=LIMIT_DROP),
            InlineRun(kind="bar", share=done / limit if limit else 1.0, token="local", drop=BAR_DROP),
        ]
        said = f"{count(done)} local requests today. The volume rule acts at {count(limit)}"
        name = f"Local today: {count(done)} of {count(limit)}"
        self.pills["requests"].set_runs(runs, name=name, description=said)

    def _show_spend(self, status: CoreStatus) -> None:
        budget = status.budget
        if budget is None:
            self._show_unknown("spend", status.month)
            return
        spending, limit = budget.spending, budget.limit_nanodollars
        spent = spending.spent_nanodollars
        open_nanodollars = (
            spending.held_nanodollars + spending.unsettled_nanodollars + budget.unpriced_nanodollars
        )
        # As in a chat's total, but for what is held: the bar has it, and the figure need not jump at each request.
        gone = replace(spending, held_nanodollars=0)
        figure = gone.figure or format_cost(0)
        runs = [
            InlineRun(text=status.month, short=status.month[:3], token="text3"),
            InlineRun(
                text=figure, short=replace(gone, unpriced=0).figure or figure, token="text", weight=600
            ),
        ]
        tone: Tone = ""
        name = f"{status.month}: {figure}"
        said = spending.words if spending.parts else f"{format_cost(0)} spent"
        if budget.unpriced_nanodollars:
            said += f" (counted at {unsettled_amount(budget.unpriced_nanodollars)})"
        if limit is not None:
            share = spent / limit if limit else float(spent > 0)
            held_share = open_nanodollars / limit if limit else 0.0
            runs.append(InlineRun(text=f"of {format_limit(limit)}", gap=4, drop=LIMIT_DROP))
            runs.append(InlineRun(kind="bar", share=share, held=held_share, token="api", drop=BAR_DROP))
            name += f" of {format_limit(limit)}"
            said += f", {format_cost(budget.free_nanodollars)} free of {format_limit(limit)}"
            if limit and share + held_share >= _BUDGET_WARNING:
                tone = "danger"
        self.pills["spend"].set_runs(runs, tone=tone, name=name, description=said)

    def _show_unknown(self, pill: str, label: str) -> None:
        """The ledger can't be read: say so, and never show 0."""
        short = "Today" if pill == "requests" else label[:3]
        runs = [
            InlineRun(text=label, short=short, token="text3"),
            InlineRun(kind="lamp", name="failed", drop=LIMIT_DROP),  # the border says it as well
            InlineRun(text="Not available", short="Unknown", token="text", weight=600),
        ]
        self.pills[pill].set_runs(
            runs, tone="danger", name=f"{label}: not available", description="The ledger can't be read"
        )

    # -- fitting ---------------------------------------------------------------------------------

    def _fit(self) -> None:
        """Model names leave first (the API's, then Local's), then the bars, the title (the rail has it too) and
        the icons. Where that is not enough, at a high zoom, labels are shortened and at last the limits go, which
        the tooltips have too; states and figures never."""
        shown = [pill for pill in self.pills.values() if not pill.isHidden()]
        if not shown:
            return
        px = theme().px
        room = self.width() - 2 * px(_MARGIN)
        titled = room - self._title.sizeHint().width() - px(16)
        densities = dict.fromkeys(self.pills, 0)

        def narrow(steps: list[tuple[str, int]], width: int) -> None:
            while steps and self._needed(densities) > width:
                name, density = steps.pop(0)
                densities[name] = density

        narrow([("api", 1), ("local", 1), ("requests", 2), ("spend", 2)], titled)
        self._title.setVisible(self._needed(densities) <= titled)
        if self._needed(densities) > room:
            densities["api"] = densities["local"] = 3
        margin = px(_MARGIN)
        if self._needed(densities) > room:
            margin = px(_MARGIN // 2)
            room = self.width() - 2 * margin
        self._row.setContentsMargins(margin, 0, margin, 1)
        narrow([("requests", SHORT), ("spend", SHORT), ("local", SHORT), ("api", SHORT)], room)
        narrow([("requests", NO_LIMIT), ("spend", NO_LIMIT)], room)
        self._row.setSpacing(self._gap(densities))
        for name, density in densities.items():
            self.pills[name].set_density(density)

    @staticmethod
    def _gap(densities: dict[str, int]) -> int:
        return theme().px(4 if max(densities.values()) >= SHORT else 8)

    def _needed(self, densities: dict[str, int]) -> int:
        widths = [self.pills[name].width_at(density) for name, density in densities.items()]
        return sum(widths) + self._gap(densities) * (len(widths) - 1)

    def _restyle(self) -> None:
        px = theme().px
        self.setFixedHeight(px(_HEIGHT))
        self._fit()
        self.update()

    def minimumSizeHint(self) -> QSize:
        return QSize(theme().px(320), theme().px(_HEIGHT))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme().color("surface"))
        painter.fillRect(QRectF(0, self.height() - 1, self.width(), 1), theme().color("border"))
        painter.end()
