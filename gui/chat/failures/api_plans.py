"""The cards for what a server said of the key, the account or the model: what mends it, and who else takes it."""

from __future__ import annotations

from gui.chat.failures.plan import Action, Facts, Plan, elsewhere
from gui.chat.storage.models import StoredError

TURNED_AWAY = frozenset({"authentication_failed", "permission_denied", "credit_exhausted", "model_not_found"})


def plan_of_turned_away(error: StoredError, facts: Facts, kept: str) -> Plan:
    """Return the card for a failure of one of ``TURNED_AWAY``; ``kept`` says where the prompt is."""
    is_local = facts.side == "local"
    who = "The local server" if is_local else "The API"
    key: tuple[str, Action] = ("Replace the key", "add_local_key" if is_local else "add_key")
    model: tuple[str, Action] = ("Choose a model", "choose_local_model" if is_local else "choose_model")
    # Auto keeps away from a side that said so, so this one is named.
    again: tuple[str, str, Action] = (
        ("Try Local again", "arrow-clockwise", "send_local")
        if is_local
        else ("Try the API again", "arrow-clockwise", "send_api")
    )
    others = [item for item in elsewhere(facts) if item[2] != again[2]]
    fix: tuple[str, Action] | None
    actions: list[tuple[str, str, Action]]
    match error.kind:
        case "permission_denied":
            title, icon = "The key may not use this model", "prohibit-fill"
            fix, actions = model, [(key[0], "key", key[1]), *others]
        case "model_not_found":
            title, icon, fix, actions = f"{who} has no such model", "question", model, [*others, again]
        case "credit_exhausted":
            account = "The local server’s account" if is_local else "The API account"
            title, icon = f"{account} has no credit", "wallet"
            first, *actions = [*others, again]
            fix = first[0], first[2]
            if facts.billing_page:
                fix, actions = ("Open the billing page", "open_billing"), [first, *actions]
        case _:
            title, icon, fix, actions = f"{who} refused the key", "key-fill", key, [*others, again]
    return Plan(
        short=False,
        title=title,
        sentence=error.message,
        tone="danger",
        icon=icon,
        fix=fix,
        actions=tuple(actions),
        kept=f"{kept} Nothing was charged.",
        facts=facts,
    )
