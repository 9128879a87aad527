"""Spend, as far as it exists: the popover under the month's pill."""

from __future__ import annotations

from gui.shell.pages import Page, Shell, Target
from gui.spend.popover import SpendPopover


class SpendPage(Page):
    """``show`` opens the popover; its section ``held`` shows at once what is held."""

    id = "spend"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._popover: SpendPopover | None = None

    @property
    def widget(self) -> SpendPopover:
        """The popover; another one each time it is opened, since it goes when it is closed."""
        if self._popover is None:
            self._popover = SpendPopover(self._shell.bridge, self._shell.anchor("spend").window())
            self._popover.limits_asked.connect(
                lambda: self._shell.open(Target("preferences", "spend", "spend_limit_dollars"))
            )
            self._popover.destroyed.connect(self._forget)
        return self._popover

    def show(self, target: Target) -> None:
        self._popover = None
        self.widget.open_at(self._shell.anchor("spend"), held=target.section == "held")

    def _forget(self, gone: object) -> None:
        if self._popover is gone:
            self._popover = None
