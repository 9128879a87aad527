"""Asks the API, for nothing, whether it is there, takes the key and has the model; its state is what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import InvalidRequest, ModelNotFound, SignalboxError, TransientFailure
from core.routing.api_condition import OF_ONE_MODEL, OF_THE_ACCOUNT, kind_of

if TYPE_CHECKING:
    from core.providers.anthropic import AnthropicProvider
    from core.providers.base import CheckResult
    from core.routing.backends import ApiBackend


class ApiCheck:
    """``on_change`` is called when what is known of the API may be another."""

    def __init__(self, api: ApiBackend, on_change: Callable[[], None]) -> None:
        self._api = api
        self._on_change = on_change

    async def check(self, key: str | None = None) -> CheckResult:
        """Reach the API with ``key``, or with the one in use; nothing is billed.

        Of a key that is only tried, nothing is kept.

        Raises:
            SignalboxError: by kind, when it can't be reached or refuses the key.
        """
        provider = self._api.checker(key)
        if key is None:
            return await self._check_in_use(provider)
        try:
            return await provider.check()
        finally:
            await provider.close()

    async def try_again(self) -> CheckResult:
        """Take it that what the API said last is mended, and ask it what can be asked for nothing.

        Whether there is credit only the next request can tell.

        Raises:
            SignalboxError: by kind, when it can't be reached, refuses the key or has no such model.
        """
        self._api.try_again()
        self._on_change()
        result = await self._check_in_use(self._api.checker())
        model = self._api.default_model
        trouble = self._api.condition.trouble(model)
        if trouble is not None and trouble.kind == "model_unknown":
            raise ModelNotFound(trouble.message, hint=trouble.hint)
        return result

    async def listed(self) -> CheckResult:
        """Return the models that the API in use lists; its state is what it says of the key with that.

        Raises:
            SignalboxError: by kind, when it can't be asked.
        """
        era = self._api.condition.era
        try:
            result = await self._api.checker().check()
        except SignalboxError as error:
            # Whether it answers prompts another question tells: there are servers that list nothing.
            if kind_of(error) in OF_THE_ACCOUNT:
                self._api.heard(None, error, era=era)
                self._on_change()
            raise
        self._api.condition.checked(result.models, era=era)
        self._on_change()
        return result

    async def find(self, model: str) -> tuple[bool | None, tuple[str, ...]]:
        """Return whether the API has ``model`` (``None``: it doesn't say), and the models that it lists.

        Raises:
            SignalboxError: by kind, when it can't be asked.
        """
        listed = (await self.listed()).models
        return await self.has_model(model, listed), listed

    async def has_model(self, model: str, listed: tuple[str, ...] = ()) -> bool | None:
        """Return whether the API has ``model``; ``None`` where it doesn't say. ``listed`` are those of its list.

        Raises:
            SignalboxError: by kind, when it can't be asked.
        """
        if model in listed:
            return True
        try:
            return await self._api.checker().find_model(model)
        except (TransientFailure, InvalidRequest):
            return None

    async def _check_in_use(self, provider: AnthropicProvider) -> CheckResult:
        api, model = self._api, self._api.default_model
        era = api.condition.era
        try:
            result = await provider.check()
            has_model = await self.has_model(model, result.models)
        except SignalboxError as error:
            if kind_of(error) not in OF_ONE_MODEL:  # of this question only: it was not asked for an answer
                api.heard(model, error, era=era)
                self._on_change()
            raise
        listed = result.models if not has_model else (*result.models, model)
        api.condition.checked(listed, era=era)
        if has_model is False:
            api.heard(
                model,
                ModelNotFound(
                    f"Anthropic has no model {model}.",
                    hint="Choose another model in Preferences (ANTHROPIC_MODEL).",
                ),
                era=era,
            )
        self._on_change()
        return dataclasses.replace(result, has_model=has_model)
