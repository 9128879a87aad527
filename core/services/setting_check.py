"""Looks, before a setting is applied, whether what it names is there: a model's file, or a model on a server.

What is sure not to be there is refused, so that what runs goes on. What can't be found out is told as a doubt, and
whoever sets it decides.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from core.errors import SignalboxError
from core.local.gguf_file import model_file_problem
from core.local.manager import chosen_kind
from core.settings import InvalidSetting, NamesNothing
from core.settings.model import env_name, facts, validate

if TYPE_CHECKING:
    from core.providers.base import CheckResult
    from core.services.api_check import ApiCheck
    from core.settings import Settings, SettingsStore

CHECK_TIMEOUT_S = 8.0
"""How long a server may take to list its models, before whoever waits is asked instead."""
KEPT = "Nothing was changed."
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDoubt:
    """Whether a value is good could not be found out: ``message`` says why, and ``hint`` what may follow."""

    message: str
    hint: str


class SettingChecker:
    """``look_at_local`` lists the models of the local server at an address, with the key that may go there."""

    def __init__(
        self,
        store: SettingsStore,
        api: ApiCheck,
        has_api_key: Callable[[], bool],
        look_at_local: Callable[[str], Awaitable[CheckResult]],
    ) -> None:
        self._store = store
        self._api = api
        self._has_api_key = has_api_key
        self._look_at_local = look_at_local

    async def check(self, name: str, value: object) -> SettingDoubt | None:
        """Return the doubt that is left about ``value``; ``None``: it is good, or nothing that is looked at here.

        Raises:
            NamesNothing: what it names is not there; the message says what is, where that is known.
        """
        try:
            wanted = validate(name, value)
        except ValidationError:
            return None  # the store says it better
        if not wanted:
            return None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                match name:
                    case "local_model_path":
                        await self._check_file(wanted)
                    case "vllm_model":
                        await self._check_local_model(self._store.current, wanted)
                    case "anthropic_model":
                        return await self._check_api_model(wanted)
                    case _:
                        pass
        except InvalidSetting as refused:
            # Beside a row nobody needs the variable's name.
            hint = "" if env_name(name) in refused.hint else refused.hint
            raise _refused(name, refused.value or "", refused.message, f"{hint} {KEPT}".strip()) from None
        except SignalboxError as error:
            return _doubt(error.message)
        except TimeoutError:
            return _doubt(f"No answer came in {CHECK_TIMEOUT_S:g} s.")
        return None

    async def local_problem(self, settings: Settings) -> InvalidSetting | None:
        """Return why the local model that ``settings`` name is sure not to answer; ``None``: it may."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                if settings.local_model_path is not None and self._kind(settings) == "embedded":
                    await self._check_file(settings.local_model_path)
                if settings.vllm_model:
                    await self._check_local_model(settings, settings.vllm_model)
        except InvalidSetting as refused:
            return refused
        except (SignalboxError, TimeoutError):
            return None
        return None

    async def _check_file(self, path: Path) -> None:
        problem = await asyncio.to_thread(model_file_problem, path)
        if problem is not None:
            raise _refused("local_model_path", str(path), problem.text, problem.hint)

    async def _check_local_model(self, settings: Settings, model: str) -> None:
        if self._kind(settings) not in ("external", "compose"):
            return
        result = await self._look_at_local(settings.vllm_base_url)
        if model not in result.models:
            raise _refused(
                "vllm_model",
                model,
                f"The server at {settings.vllm_base_url} has no model {model}.",
                _instead(model, result.models),
            )

    async def _check_api_model(self, model: str) -> SettingDoubt | None:
        if not self._has_api_key():
            return None  # nobody can be asked, and nothing runs that could stop
        found, listed = await self._api.find(model)
        if found is False:
            raise _refused(
                "anthropic_model", model, f"The API has no model {model}.", _instead(model, listed)
            )
        return None if found else _doubt("The API doesn't list it, and doesn't say whether it is there.")

    def _kind(self, settings: Settings) -> str:
        return chosen_kind(settings, self._store.named_at("vllm_base_url"))


def _refused(name: str, value: str, what: str, hint: str) -> NamesNothing:
    return NamesNothing(what, name=name, value=value, allowed=facts(name)["allowed"], hint=hint)


def _instead(model: str, listed: Sequence[str]) -> str:
    """Name the models that may have been meant, or the first there are."""
    if not listed:
        return "It lists none."
    near = difflib.get_close_matches(model, listed, n=_SHOWN, cutoff=0.5) or list(listed[:_SHOWN])
    more = len(listed) - len(near)
    return f"It has {', '.join(near)}{f' and {more:,} more' if more else ''}."


def _doubt(why: str) -> SettingDoubt:
    return SettingDoubt(
        message=f"It couldn't be checked. {why}", hint="Where it is not there, requests to it will fail."
    )
