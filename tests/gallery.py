"""``make gallery``: a window with every widget in every state, light and dark, to look at and to try out.

``python -m tests.gallery --shoot FOLDER [--zoom 1.25]`` writes it as ``gallery-light.png`` and ``gallery-dark.png``
instead, without a screen too (``QT_QPA_PLATFORM=offscreen``).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from core import Spending
from core.chat import Estimate
from core.local.server import ServerState
from core.model_list import ListedModel, ModelList
from core.services.status import ApiStatus
from gui.shell.header import HeaderStrip
from gui.shell.rail import Rail
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.budget_bar import BudgetBar, BudgetSummary
from gui.widgets.copying import Copier
from gui.widgets.decision_card import DecisionCard
from gui.widgets.empty_state import EmptyState
from gui.widgets.error_card import ErrorCard, ShortCard
from gui.widgets.icon_button import IconButton
from gui.widgets.marks import LAMP_WORDS, Lamp
from gui.widgets.model_picker import ModelPicker
from gui.widgets.money_label import MoneyLabel
from gui.widgets.origin_tag import OriginTag
from gui.widgets.route_badge import RouteBadge
from gui.widgets.route_line import RouteLine
from gui.widgets.segmented import SegmentedSwitch
from gui.widgets.toast import ToastHost
from tests.gallery_kit import add_kit
from tests.support.examples import (
    API_RESULT,
    COMPLEX,
    EVENTFUL,
    METERED,
    NANO,
    REFUSED,
    REPLAYED,
    UNPRICED,
    a_decision,
    a_result,
    a_status,
)

WIDTH_PX = 1400
PAGES = [
    ("chat", "Chat", "chats"),
    ("routing", "Routing", "git-fork"),
    ("spend", "Spend", "wallet"),
    ("machine", "Machine", "hard-drives"),
    ("requests", "Requests", "rows"),
    ("lab", "Lab", "flask"),
    ("preferences", "Preferences", "gear-six"),
]


LOCAL_MODELS = ModelList(
    side="local",
    models=(ListedModel(id="qwen2.5-coder-14b", context_tokens=32_768),),
    default_model="qwen2.5-coder-14b",
)
API_MODELS = ModelList(
    side="api",
    models=(
        ListedModel(
            id="claude-opus-5",
            name="Claude Opus 5",
            context_tokens=1_000_000,
            input_nanodollars_per_mtok=5 * NANO,
            output_nanodollars_per_mtok=25 * NANO,
            dearer_above_tokens=200_000,
        ),
        ListedModel(id="claude-zebra-9", name="Claude Zebra 9"),
    ),
    default_model="claude-opus-5",
)


def nothing() -> None:
    """A callback for buttons that nobody presses."""


class Gallery(QWidget):
    """One tall page of sections."""

    def __init__(self) -> None:
        super().__init__()
        self.setAutoFillBackground(True)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 24, 24, 24)
        self.column.setSpacing(8)
        for name in (
            "_type",
            "_controls",
            "_marks",
            "_headers",
            "_pills_and_rail",
            "_badges",
            "_cards",
            "_pickers",
            "_decisions",
        ):
            getattr(self, name)()
        self.states = add_kit(self)
        self.column.addStretch(1)

    def section(self, title: str) -> None:
        label = QLabel(title)
        set_property(label, role="caption", weight=500, level="2")
        self.column.addSpacing(8)
        self.column.addWidget(label)

    def row(self, *widgets: QWidget, stretch: bool = True) -> None:
        line = QHBoxLayout()
        line.setSpacing(12)
        for widget in widgets:
            line.addWidget(widget, 0, Qt.AlignmentFlag.AlignTop if stretch else Qt.AlignmentFlag(0))
        if stretch:
            line.addStretch(1)
        self.column.addLayout(line)

    def _type(self) -> None:
        self.section("Type")
        for role in ("hero", "figure", "title", "reading", "body", "small", "caption", "mono"):
            labels: list[QWidget] = []
            for weight in (400, 500, 600):
                label = QLabel(f"{role} {weight} $187.42 111,000")
                set_property(label, role=role, weight=weight)
                labels.append(label)
            self.row(*labels)

    def _controls(self) -> None:
        self.section("Controls")
        for states in ({}, {"enabled": False}):
            buttons: list[QWidget] = []
            for properties in (
                {},
                {"primary": True},
                {"danger": True},
                {"flat": True},
                {"compact": True},
                {"tiny": True},
            ):
                button = QPushButton(next(iter(properties), "plain").capitalize())
                set_property(button, **properties)
                if "danger" in properties:
                    set_button_icon(button, "trash", "danger_text")
                button.setEnabled(states.get("enabled", True))
                buttons.append(button)
            buttons.append(IconButton("note-pencil", "New chat", "Ctrl+N", outlined=True))
            buttons.append(IconButton("export", "Export"))
            copied = IconButton("copy", "Copy")
            Copier(copied, lambda: "copied in the gallery")
            buttons.append(copied)
            self.row(*buttons)
        line, locked, wrong = (
            QLineEdit("http://192.168.1.40:8000/v1"),
            QLineEdit("locked"),
            QLineEdit("sk-ant-bad"),
        )
        locked.setReadOnly(True)
        set_property(wrong, tone="danger")
        box, spin = QComboBox(), QSpinBox()
        box.addItems(["hybrid", "local-first"])
        spin.setMaximum(9999)
        spin.setValue(3000)
        self.row(line, locked, wrong, box, spin)
        checked, radio = QCheckBox("Fall back once"), QRadioButton("System")
        checked.setChecked(True)
        radio.setChecked(True)
        off = QCheckBox("Reduce motion")
        switch = SegmentedSwitch([("auto", "Auto", None), ("local", "Local", "cpu"), ("api", "API", "cloud")])
        second = SegmentedSwitch(
            [("system", "System", None), ("light", "Light", "sun"), ("dark", "Dark", "moon")], compact=False
        )
        second.set_value("light")
        self.row(checked, off, radio, switch, second)

    def _marks(self) -> None:
        self.section("Lamps, money, bars, origins")
        lamps: list[QWidget] = []
        for state, word in LAMP_WORDS.items():
            lamps += [Lamp(state), QLabel(word)]  # type: ignore[arg-type]
        self.row(*lamps)
        amounts = [
            (187_420_000_000, "settled"),
            (1_860_000_000, "held"),
            (4_700_000, "estimate"),
            (20_000, "settled"),
            (None, "unpriced"),
            (1_900_000, "loaded"),
            (0, "settled"),
            (None, "loaded"),
        ]
        labels: list[QWidget] = []
        for nano, kind in amounts:
            label = MoneyLabel()
            label.set_cost(nano, kind)  # type: ignore[arg-type]
            labels.append(label)
        odd = MoneyLabel()
        odd.set_spending(
            Spending(
                spent_nanodollars=120_000_000, estimated=True, unsettled_nanodollars=15_400_000, unpriced=1
            )
        )
        self.row(*labels, odd)
        bar = BudgetBar()
        bar.set_amounts(187_420_000_000, 1_860_000_000, 500 * NANO)
        bar.setFixedWidth(400)
        self.row(
            bar,
            OriginTag("default"),
            OriginTag("environment", locked=True),
            OriginTag("panel"),
            OriginTag("none"),
        )

    def _headers(self) -> None:
        self.section("Header strip at 1200, 900 and 680 px")
        for width in (1200, 900, 680):
            strip = HeaderStrip()
            strip.set_title("Chat")
            strip.setFixedWidth(width)
            strip.set_status(a_status())
            self.row(strip)

    def _pills_and_rail(self) -> None:
        self.section("Pills in all states, rail")
        grid = QGridLayout()
        grid.setSpacing(8)
        states = [
            a_status(),
            a_status(
                ServerState(phase="starting", kind="embedded", progress=0.62, eta_s=70),
                ApiStatus(phase="no_key", model="x"),
            ),
            a_status(
                ServerState(phase="stopped", kind="embedded"),
                ApiStatus(phase="rate_limited", model="x", detail="until 14:32"),
                today=3000,
            ),
            a_status(
                ServerState(phase="stopping", kind="embedded", detail="2 requests left"),
                spent=494_100_000_000,
            ),
            a_status(ServerState(phase="failed", kind="embedded", detail="out of GPU memory"), budget=False),
        ]
        self.strips: list[HeaderStrip] = []
        for y, status in enumerate(states):
            strip = HeaderStrip()
            strip.resize(1600, 48)
            strip.set_status(status)
            self.strips.append(strip)
            for x, pill in enumerate(strip.pills.values()):
                grid.addWidget(pill, y, x, Qt.AlignmentFlag.AlignLeft)
        rail = Rail(PAGES[:-1], PAGES[-1:])
        rail.set_lamp("machine", "alert", "VRAM 91 %")
        rail.setFixedHeight(480)
        line = QHBoxLayout()
        line.addLayout(grid)
        line.addStretch(1)
        line.addWidget(rail)
        self.column.addLayout(line)

    def _badges(self) -> None:
        self.section("Route badges and route lines")
        streaming, waiting, failed, narrow = RouteBadge(), RouteBadge(), RouteBadge(), RouteBadge()
        streaming.set_decision(replace(COMPLEX, reason="Complex: score 0.71 reached 0.60"))
        streaming.set_streaming(214, 74, 16_700_000)
        waiting.set_decision(a_decision())
        failed.set_failed("Broke off after 214 tokens", COMPLEX, Spending(unsettled_nanodollars=3_900_000))
        narrow.set_result(API_RESULT)
        narrow.setFixedWidth(360)
        queued, again = RouteBadge(), RouteBadge()
        queued.set_waiting("for Local", "for Local, 2 ahead, about 8 s", "2 ahead at the local server.")
        again.set_decision(COMPLEX)
        again.set_waiting("to try again", "to try again, about 3 s", "API turned it away: overloaded")
        results = (
            a_result(),
            API_RESULT,
            EVENTFUL,
            METERED,
            REPLAYED,
            UNPRICED,
            a_result(loaded_nanodollars=None),
        )
        for result in results:
            badge = RouteBadge()
            badge.set_result(result)
            self.row(badge)
        stopped = RouteBadge()
        stopped.set_stopped("Stopped before the first token", COMPLEX)
        for badge in (streaming, waiting, failed, stopped, narrow, queued, again):
            self.row(badge)
        for decision in (
            None,
            a_decision(),
            COMPLEX,
            REFUSED,
            a_decision(local_estimate=Estimate(model=None, cost_nanodollars=None, hold_nanodollars=0)),
        ):
            line = RouteLine()
            line.set_decision(decision)
            line.setFixedWidth(800)
            self.row(line)

    def _cards(self) -> None:
        self.section("Failures")
        empty = EmptyState(
            "No NVIDIA GPU found",
            "The driver library isn’t installed, so there is nothing to chart. "
            "Chat, routing and spend work as usual.",
            [("Watch a remote GPU", nothing), ("Use the small model", nothing)],
            "Looked for libnvidia-ml.so.1 at 14:02",
        )
        frame = QFrame()
        set_property(frame, card=True)
        QVBoxLayout(frame).addWidget(empty)
        frame.setFixedSize(608, 280)
        server = ErrorCard(
            "The local server ran out of GPU memory",
            "At 14:09:08 vLLM asked for 1.25 GB more than the card had. "
            "The context is set to 32 k and 17 requests were in flight.",
            ("Apply and restart", nothing),
            [
                ("Restart as is", "arrow-clockwise", nothing),
                ("Show log", "terminal-window", nothing),
                ("Copy details", "copy", nothing),
            ],
            kept="6 answers moved to the API for $0.0471. 11 more are waiting there.",
            log=[
                "14:09:08 ERR CUDA out of memory. Tried to allocate 1.25 GiB",
                "14:09:09 INF Container exited, code 137",
            ],
            fix_title="Lower the context from 32 k to 16 k tokens",
            fix_detail="Needs about 18.3 GB instead of 20.9 GB",
        )
        server.setFixedWidth(608)
        self.row(frame, server)
        summary = BudgetSummary()
        summary.set_amounts(494_100_000_000, 3_420_000_000, 500 * NANO, held_count=5, asked=2_710_000_000)
        limit = ErrorCard(
            "This prompt doesn’t fit under June’s $500 limit",
            "Its worst case is $2.71 and $2.48 is free. "
            "It has tools, which the local model can’t run, so it was not sent.",
            ("Raise the limit", nothing),
            [
                ("Show what is held", "", nothing),
                ("Lower max tokens to 900", "", nothing),
                ("Send without tools", "", nothing),
            ],
            kept="Your prompt is still in the box. Nothing was charged.",
            icon="prohibit-fill",
            body=summary,
        )
        limit.setFixedWidth(608)
        shorts = QWidget()
        column = QVBoxLayout(shorts)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        for card in (
            ShortCard(
                "No Anthropic key yet",
                "This prompt wants the API. It is kept in the box.",
                ("Add a key", nothing),
            ),
            ShortCard(
                "Too long for Local",
                "41,208 tokens, and the local model takes 32,768.",
                ("Send to API, $0.13", nothing),
                icon="arrows-out-line-horizontal",
            ),
            ShortCard(
                "The answer broke off after 214 tokens",
                "The connection closed. The text is kept, up to $0.0039 not settled.",
                ("Continue", nothing),
                "danger",
                "link-break",
            ),
        ):
            column.addWidget(card)
        shorts.setFixedWidth(608)
        self.row(limit, shorts)
        self.toasts: list[ToastHost] = []
        holders: list[QWidget] = []
        for text, label, icon in (
            ("Deleted “Regex for German IBANs”", "Undo", "trash"),
            ("Applied 2 changes to routing", "Roll back", "check-circle-fill"),
        ):
            holder = QWidget()
            holder.setFixedSize(380, 72)
            host = ToastHost(holder)
            theme().set_reduced_motion(True)
            host.show(text, label, nothing, icon)
            self.toasts.append(host)
            holders.append(holder)
        self.row(*holders)

    def _decisions(self) -> None:
        self.section("Decision cards")
        cards: list[QWidget] = []
        for shown in (a_result(), EVENTFUL, METERED, REPLAYED, REFUSED):
            card = DecisionCard(shown)
            card.setWindowFlags(Qt.WindowType.Widget)
            cards.append(card)
        self.row(*cards[:3])
        self.row(*cards[3:])

    def _pickers(self) -> None:
        self.section("Model picker")
        pickers: list[QWidget] = []
        for local, api, is_reading in (
            (LOCAL_MODELS, API_MODELS, False),
            (LOCAL_MODELS, ModelList(side="api"), True),
            (
                replace(LOCAL_MODELS, problem="The local server is stopped."),
                replace(
                    API_MODELS,
                    problem="No Anthropic key is set.",
                    hint="Add one in Preferences, Providers.",
                    key_trouble="missing",
                ),
                False,
            ),
        ):
            picker = ModelPicker("claude-opus-5", for_new=True, offers_key=True)
            picker.setWindowFlags(Qt.WindowType.Widget)
            for listed in (local, api):
                picker.show_list(listed, is_reading=is_reading and listed.side == "api")
            picker.setFixedHeight(420)
            pickers.append(picker)
        self.row(*pickers)


class GalleryWindow(QWidget):
    """The gallery to scroll through, with a switch for the scheme and one for the zoom."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("Signalbox, gallery of widgets")
        self.gallery = Gallery()
        scroll = QScrollArea()
        scroll.setWidget(self.gallery)
        scroll.setWidgetResizable(True)
        schemes = SegmentedSwitch(
            [("system", "System", None), ("light", "Light", "sun"), ("dark", "Dark", "moon")], compact=True
        )
        zooms = SegmentedSwitch([(str(percent), f"{percent} %", None) for percent in (90, 100, 125, 150)])
        zooms.set_value("100")
        schemes.value_changed.connect(lambda value: theme().set_scheme(value))
        zooms.value_changed.connect(lambda value: theme().set_zoom(int(value) / 100))
        bar = QHBoxLayout()
        bar.setContentsMargins(24, 8, 24, 0)
        bar.addWidget(schemes)
        bar.addWidget(zooms)
        bar.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(bar)
        column.addWidget(scroll, 1)
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._take_pictures)
        theme().changed.connect(self._soon.start)
        self._soon.start()
        self._bars = (scroll.verticalScrollBar(), scroll.horizontalScrollBar())

    def _take_pictures(self) -> None:
        """The keyboard goes through all controls, and the page would scroll after it."""
        places = [bar.value() for bar in self._bars]
        self.gallery.states.take_pictures()
        for bar, place in zip(self._bars, places, strict=True):
            bar.setValue(place)


def shoot(app: QApplication, folder: Path, zoom: float = 1.0) -> list[Path]:
    """Write the gallery in both schemes, and return the files."""
    theme().set_zoom(zoom)
    gallery = Gallery()
    gallery.resize(round(WIDTH_PX * zoom), 100)
    gallery.show()
    files: list[Path] = []
    for scheme in ("light", "dark"):
        theme().set_scheme(scheme)
        app.processEvents()
        gallery.states.take_pictures()
        gallery.resize(gallery.width(), gallery.sizeHint().height())
        for _ in range(3):
            app.processEvents()
        files.append(folder / f"gallery-{scheme}.png")
        gallery.grab().save(str(files[-1]))
    gallery.close()
    gallery.deleteLater()
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shoot", type=Path, metavar="FOLDER")
    parser.add_argument("--zoom", type=float, default=1.0)
    options = parser.parse_args()
    app = QApplication([])
    theme().install(app)
    if options.shoot is not None:
        options.shoot.mkdir(parents=True, exist_ok=True)
        for file in shoot(app, options.shoot, options.zoom):
            print(file)
        return 0
    window = GalleryWindow()
    window.resize(WIDTH_PX, 900)
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
