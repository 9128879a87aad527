"""The preferences page: sections at the left, found by name or by searching a setting; one column at the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QPainter, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QStackedWidget,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from gui.preferences.catalogue import (
    SECTIONS,
    SETTINGS,
    SearchTarget,
    SectionText,
    find,
    places,
    setting_text,
)
from gui.preferences.section import MARGIN_LEFT_PX, MARGIN_RIGHT_PX, Section
from gui.preferences.settings_model import SettingsModel
from gui.preferences.trouble_bar import TroubleBar
from gui.shell.notices import Notice
from gui.shell.pages import FocusArea, Page, PageLamp, Shell, Target
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.labels import label

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge


SECTION_ROLE = Qt.ItemDataRole.UserRole + 1
"""The section's title under a found setting; unset for a section itself."""


class PlaceDelegate(QStyledItemDelegate):
    """Background and focus ring are the style sheet's; only the second line is painted here."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        section = index.data(SECTION_ROLE)
        if not section:
            super().paint(painter, option, index)
            return
        self.initStyleOption(option, index)
        name = str(index.data(Qt.ItemDataRole.DisplayRole))
        option.text = ""  # pyright: ignore[reportAttributeAccessIssue]
        widget = option.widget  # pyright: ignore[reportAttributeAccessIssue]
        style = widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, widget)
        look = theme()
        box: QRect = option.rect.adjusted(look.px(12) + 8, look.px(4), -8 - look.px(8), -look.px(4))  # pyright: ignore
        half = box.height() // 2
        lines = (
            (name, look.font("body"), "text", QRect(box.left(), box.top(), box.width(), half)),
            (
                str(section),
                look.font("caption"),
                "text2",
                QRect(box.left(), box.top() + half, box.width(), half),
            ),
        )
        painter.save()
        for words, font, token, place in lines:
            painter.setFont(font)
            painter.setPen(look.color(token))
            shown = painter.fontMetrics().elidedText(words, Qt.TextElideMode.ElideRight, place.width())
            painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
        painter.restore()


SIDE_PX = 200
PLACE_ROLE = Qt.ItemDataRole.UserRole
BACK_WORDS = {"chat": "Back to the chat", "welcome": "Back to Welcome", "machine": "Back to Machine"}
"""The button's words by the page it leads to."""
BACK_KEY = "Alt+Left"


class PreferencesPage(Page):
    """``show`` opens a section, and of it the row that the target's detail names."""

    id = "preferences"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.view = PreferencesView(shell.bridge)
        self.view.back_asked.connect(self._go_back)
        self.view.page_asked.connect(self._open_page)
        self.view.trouble.changed.connect(shell.page_changed)
        self._came_from = ""

    @property
    def widget(self) -> PreferencesView:
        return self.view

    @property
    def areas(self) -> Sequence[FocusArea]:
        return (FocusArea(self.view.list, self.view.list), FocusArea(self.view.right))

    @property
    def home(self) -> QWidget:
        return self.view.list

    async def stop(self) -> None:
        """Keep what was typed into a field that still has the focus when the window closes."""
        await self.view.finish()

    def show(self, target: Target) -> None:
        is_led = bool(target.section or target.detail)
        # Whoever came by the rail knows the way; whoever was led here wants to go on where they were.
        self._came_from = target.came_from if is_led else ""
        self.view.show_way_back(BACK_WORDS.get(self._came_from, "Back") if self._came_from else "")
        if is_led:
            self.view.show_section(target.section, target.detail)

    def notices(self, *, in_front: bool) -> Sequence[Notice]:
        """What was typed and is not in force is told where it can't be seen."""
        refused = () if in_front else self.view.refused
        return [
            Notice(
                key=f"preferences: {name}",
                title=f"{setting_text(name).full_label} is not changed",
                text="What was typed for it can’t be used.",
                actions=(("Show it", partial(self._shell.open, Target(self.id, detail=name))),),
            )
            for name in refused
        ]

    @property
    def lamp(self) -> PageLamp | None:
        count = len(self.view.refused)
        many = "An entry is" if count == 1 else f"{count} entries are"
        return PageLamp("alert", f"{many} not in force") if count else None

    def _open_page(self, page: str, section: str) -> None:
        self._shell.open(Target(page, section))

    def _go_back(self) -> None:
        if self._came_from:
            self._shell.open(Target(self._came_from))


class PreferencesView(QWidget):
    """Waits for the core, then builds each section when it is first shown.

    Signals: ``back_asked`` to return to where the user was led here from, ``page_asked`` for another page and its
    section.
    """

    back_asked = Signal()
    page_asked = Signal(str, str)

    def __init__(self, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._model: SettingsModel | None = None
        self._sections: dict[str, Section] = {}
        self._places: tuple[SearchTarget, ...] = ()
        self._wanted = (SECTIONS[0].id, "")
        self._side = QWidget()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a setting")
        self.search.setAccessibleName("Find a setting")
        set_property(self.search, compact=True)
        self.search.addAction(theme().icon("magnifying-glass"), QLineEdit.ActionPosition.LeadingPosition)
        self._clear = self.search.addAction(theme().icon("x"), QLineEdit.ActionPosition.TrailingPosition)
        self._clear.setToolTip("Clear the search (Esc)")
        self._clear.triggered.connect(self.search.clear)
        self._clear.setVisible(False)
        self.search.textChanged.connect(self._fill_list)
        self.search.installEventFilter(self)
        self.list = QListWidget()
        self.list.setAccessibleName("Sections of the preferences")
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setItemDelegate(PlaceDelegate(self.list))
        self.list.currentItemChanged.connect(self._item_current)
        self.list.itemActivated.connect(self._item_activated)
        self.list.itemClicked.connect(self._item_activated)
        self.list.installEventFilter(self)
        self.nothing = label("No setting is called that.", "small", level="2", wrap=True)
        self.nothing.hide()
        side = QVBoxLayout(self._side)
        side.setContentsMargins(0, 12, 0, 8)
        side.setSpacing(10)
        search_line = QHBoxLayout()
        search_line.setContentsMargins(12, 0, 12, 0)
        search_line.addWidget(self.search)
        side.addLayout(search_line)
        nothing_line = QHBoxLayout()
        nothing_line.setContentsMargins(20, 0, 12, 0)
        nothing_line.addWidget(self.nothing)
        side.addLayout(nothing_line)
        side.addWidget(self.list, 1)
        self._edge = QFrame()
        self._edge.setFixedWidth(1)
        self.stack = QStackedWidget()
        waiting = label("Signalbox is starting. Preferences open in a moment.", "body", level="2")
        waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stack.addWidget(waiting)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._side)
        layout.addWidget(self._edge)
        self.right = QWidget()
        right = QVBoxLayout(self.right)
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        self._add_way_back(right)
        self.trouble = TroubleBar()
        self.trouble.asked.connect(self._show_row)
        right.addWidget(self.trouble)
        right.addWidget(self.stack, 1)
        layout.addWidget(self.right, 1)
        self._find_shortcut = QShortcut(QKeySequence.StandardKey.Find, self)
        self._find_shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self._find_shortcut.activated.connect(self._start_search)
        self._fill_list()
        theme().changed.connect(self._restyle)
        self._restyle()
        bridge.status_changed.connect(self._core_is_there)

    def _add_way_back(self, column: QVBoxLayout) -> None:
        self.back = QPushButton()
        set_button_icon(self.back, "arrow-left")
        set_property(self.back, compact=True, flat=True)
        self.back.setToolTip(f"Back to where you were ({BACK_KEY})")
        self.back.clicked.connect(self.back_asked)
        self._way_back = QWidget()
        line = QHBoxLayout(self._way_back)
        line.setContentsMargins(MARGIN_LEFT_PX - 8, 8, MARGIN_RIGHT_PX, 0)
        line.addWidget(self.back)
        line.addStretch(1)
        self._way_back.hide()
        column.addWidget(self._way_back)
        shortcut = QShortcut(QKeySequence(BACK_KEY), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self.back_asked)

    def _show_row(self, setting: str) -> None:
        self.show_section(self.current_section, setting)

    # Sections

    def show_way_back(self, words: str) -> None:
        """Offer the way back as a button with ``words``; empty takes it away."""
        self.back.setText(words)
        self._way_back.setVisible(bool(words))

    def show_section(self, section: str, anchor: str = "") -> None:
        """Bring ``section`` to the front and, when named, give the row of ``anchor`` the focus.

        A setting's row is in its own section, whichever is named.
        """
        if anchor in SETTINGS:
            section = setting_text(anchor).section
        if section not in {text.id for text in SECTIONS}:
            section = SECTIONS[0].id
        self._wanted = (section, anchor)
        if self.search.text():
            self.search.clear()
        self._select(section)
        self._open(section, anchor)

    @property
    def current_section(self) -> str:
        return self._wanted[0]

    def section(self, section: str) -> Section | None:
        """The built section, ``None`` while the core is starting."""
        if self._model is None and not self._connect():
            return None
        if section not in self._sections:
            assert self._model is not None
            text = next(text for text in SECTIONS if text.id == section)
            built = make_section(text, self._model)
            self._sections[section] = built
            built.asked.connect(self._show_row)
            built.page_asked.connect(self.page_asked)
            self.stack.addWidget(built)
        return self._sections[section]

    @property
    def refused(self) -> tuple[str, ...]:
        """The settings whose entry was typed here and is not in force."""
        return () if self._model is None else self._model.refused

    async def finish(self) -> None:
        """Apply what is typed in any row."""
        from gui.preferences.rows import SettingRow

        for section in self._sections.values():
            for row in section.findChildren(SettingRow):
                await row.finish()

    def _show_trouble(self) -> None:
        if self._model is not None:
            self.trouble.show_names(self._model.not_in_force)

    def _connect(self) -> bool:
        if self._bridge.status is None:
            return False
        self._model = SettingsModel(self._bridge, self)
        self._model.changed.connect(self._show_trouble)
        self._model.troubled.connect(self._show_trouble)
        self._show_trouble()
        self._places = places(self._model.infos().values())
        return True

    def _core_is_there(self) -> None:
        if self._model is None and self.isVisible():
            self._open(*self._wanted)

    def _open(self, section: str, anchor: str = "") -> None:
        self._wanted = (section, anchor)
        built = self.section(section)
        if built is None:
            return
        if self.stack.currentWidget() is not built or not anchor:
            self.stack.setCurrentWidget(built)
            if self.isVisible():
                built.shown()
        if anchor:
            built.reveal(anchor)
            if self.isVisible():
                self._wanted = (section, "")  # led there once; later the page opens as it was left

    # The list: sections, or what a search found

    def _fill_list(self) -> None:
        query = self.search.text().strip()
        self._clear.setVisible(bool(self.search.text()))
        if self._model is None:
            self._connect()
        self.list.blockSignals(True)
        self.list.clear()
        titles = {text.id: text.title for text in SECTIONS}
        found = find(self._places, query) if query else ()
        for place in found:
            item = QListWidgetItem(place.label)
            item.setData(PLACE_ROLE, (place.section, place.anchor))
            item.setData(SECTION_ROLE, titles[place.section])
            item.setToolTip(f"{place.label}, in {titles[place.section]}")
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{place.label}, in {titles[place.section]}")
            self.list.addItem(item)
        if not query:
            for text in SECTIONS:
                item = QListWidgetItem(text.title)
                item.setData(PLACE_ROLE, (text.id, ""))
                self.list.addItem(item)
        self.nothing.setVisible(bool(query) and not found)
        self._size_items()
        self.list.blockSignals(False)
        if not query:
            self._select(self._wanted[0])

    def _size_items(self) -> None:
        for index in range(self.list.count()):
            item = self.list.item(index)
            item.setSizeHint(QSize(0, theme().px(46 if item.data(SECTION_ROLE) else 34)))

    def _select(self, section: str) -> None:
        self.list.blockSignals(True)
        for index in range(self.list.count()):
            if self.list.item(index).data(PLACE_ROLE)[0] == section:
                self.list.setCurrentRow(index)
                break
        self.list.blockSignals(False)
        self._embolden()

    def _embolden(self) -> None:
        for index in range(self.list.count()):
            item = self.list.item(index)
            weight = 600 if item is self.list.currentItem() else 400
            item.setFont(theme().font("body", weight))

    def _item_current(self, item: QListWidgetItem | None) -> None:
        self._embolden()
        # Arrows through the sections open them; through search results they wait for Enter.
        if item is not None and not self.search.text():
            self._open(item.data(PLACE_ROLE)[0])

    def _item_activated(self, item: QListWidgetItem) -> None:
        section, anchor = item.data(PLACE_ROLE)
        if anchor:
            self.show_section(section, anchor)

    def _start_search(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    # Qt

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return super().eventFilter(watched, event)
        key = event.key()
        if watched is self.search:
            if key == Qt.Key.Key_Escape and self.search.text():
                self.search.clear()
                return True
            if key == Qt.Key.Key_Down and self.list.count():
                # Before the focus: a list that gets it with none selected makes one current without showing it.
                if not self.list.selectedItems():
                    self.list.setCurrentRow(0)
                self.list.setFocus(Qt.FocusReason.TabFocusReason)
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.search.text() and self.list.count():
                self._item_activated(self.list.currentItem() or self.list.item(0))
                return True
        if watched is self.list and key == Qt.Key.Key_Escape and self.search.text():
            self.search.clear()
            self._start_search()
            return True
        return super().eventFilter(watched, event)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._open(*self._wanted)

    def _restyle(self) -> None:
        look = theme()
        self._side.setFixedWidth(look.px(SIDE_PX) - 1)
        self._size_items()
        self._embolden()
        self._edge.setStyleSheet(f"background: {look.hex('border')}; border: none;")
        # On the side alone: a sheet on the whole page would polish all of its sections once more.
        text, pad_px = look.hex("text"), look.px(12)
        self._side.setStyleSheet(
            "QListWidget { background: transparent; }"
            f"QListWidget::item {{ color: {look.hex('text2')}; border-radius: {look.px(4)}px;"
            f" margin: 1px 8px; padding: 0 {pad_px}px; }}"
            f"QListWidget::item:hover {{ background: {look.hex('hover')}; color: {text}; }}"
            f"QListWidget::item:selected {{ background: {look.hex('select')}; color: {text}; }}"
            f"QListWidget::item:selected:focus {{ border: 2px solid {look.hex('focus')};"
            f" padding: 0 {pad_px - 2}px; }}"
            "QLineEdit { padding-left: 2px; }"
        )


def make_section(text: SectionText, model: SettingsModel) -> Section:
    """Build a section on its first showing; most starts need none of them."""
    from gui.preferences.about_section import AboutSection
    from gui.preferences.appearance_section import AppearanceSection
    from gui.preferences.data_section import DataSection
    from gui.preferences.local_section import LocalSection
    from gui.preferences.providers_section import ProvidersSection
    from gui.preferences.rows import SettingsSection
    from gui.preferences.shortcuts_section import ShortcutsSection

    makers: dict[str, Callable[[], Section]] = {
        "providers": lambda: ProvidersSection(text, model),
        "local": lambda: LocalSection(text, model),
        "appearance": lambda: AppearanceSection(text, model.current.home),
        "shortcuts": lambda: ShortcutsSection(text),
        "data": lambda: DataSection(text, model),
        "about": lambda: AboutSection(text, model),
    }
    make = makers.get(text.id)
    return make() if make is not None else SettingsSection(text, model)
