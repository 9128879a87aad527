"""Reads the list of models that a server gives, whatever it holds, and tells which can chat.

LM Studio, Ollama and others list embedding models, rerankers and speech models beside those that chat. Some say
what a model is for (``type``, ``task``, ``capabilities``); where they don't, its name does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from core.chat import Side

PACKAGED_MODEL = "SmolLM2-135M-Instruct"
"""The model that comes with Signalbox, to try it with. Its chat template has no place for tools: it gets none."""
MOST_MODELS = 5_000
"""As many as are read of a list; the models of the largest catalogues are a few thousand."""
MOST_ID_CHARS = 256
MOST_NAME_CHARS = 80
MOST_TOKENS = 2**40

_NOT_CHAT_KINDS = re.compile(
    r"embed|rerank|score|classif|reward|pooling|transcri|speech|asr|tts|audio|whisper|image|diffusion|moderation"
)
"""What a server calls a model that answers no chat."""
_NOT_CHAT_NAMES = re.compile(
    r"embed|rerank|whisper|(?:^|[-_/:.])(?:bge|e5|gte|tts|asr|clip|stt|siglip|colbert|splade)(?=[-_:.\d]|$)|minilm"
    r"|sentence-transformers|stable-?diffusion|(?:^|[-_/])(?:sdxl|flux|dall-e)|piper|kokoro|wav2vec|moderation|reward"
    r"|nomic-bert|paraphrase-",
    re.IGNORECASE,
)
_CHAT_KINDS = frozenset(
    {"llm", "vlm", "chat", "completion", "generate", "text-generation", "text-to-text", "image-text-to-text"}
)


KeyTrouble = Literal["missing", "refused", "held_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model that can be asked for. ``name`` is what its server calls it for people, empty where it does not.

    ``context_tokens`` is the input and the answer together, ``None`` where nobody says. Prices are cash in
    nano-dollars a million tokens; ``None`` is unpriced, and on the local side always. ``dearer_above_tokens`` is
    the input from which on a higher price holds.
    """

    id: str
    name: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    input_nanodollars_per_mtok: int | None = None
    output_nanodollars_per_mtok: int | None = None
    dearer_above_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """What one side can be asked for, as it was last read; ``default_model`` is the one it takes for itself.

    ``read_at`` of ``None``: it was never read. Where it could not be read now, ``problem`` says why and ``hint``
    what to do; ``models`` are then those of the last time. Where only the user's key can mend that, ``key_trouble``
    says which way: there is none, it was refused, or it is held back from the address that is set.
    """

    side: Side
    models: tuple[ListedModel, ...] = ()
    default_model: str | None = None
    read_at: datetime | None = None
    problem: str = ""
    hint: str = ""
    key_trouble: KeyTrouble | None = None

    def find(self, model: str) -> ListedModel | None:
        return next((listed for listed in self.models if listed.id == model), None)

    def lacks(self, model: str) -> bool:
        """Whether the side is known not to have ``model``: a list that can't be read now says nothing of it."""
        return self.read_at is not None and not self.problem and self.find(model) is None


def chat_models(
    models: Mapping[str, Mapping[str, Any]], wanted: str | None = None
) -> tuple[ListedModel, ...]:
    """Return those that can chat, in the order of the list, and ``wanted`` whatever it is said to be."""
    return tuple(
        ListedModel(
            id=model,
            name=_shown_name(fields.get("display_name")),
            context_tokens=context_tokens(fields),
            max_output_tokens=count_of(fields.get("max_tokens")),
        )
        for model, fields in models.items()
        if model == wanted or _can_chat(model, fields)
    )


def _shown_name(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        return ""
    return value.strip()[:MOST_NAME_CHARS]


def listed_models(body: object, wanted: str | None = None) -> dict[str, dict[str, Any]] | None:
    """Return the models of a list by their ids, in its order; ``None`` where ``body`` is no such list.

    Ids that nobody could mean (control characters, more than ``MOST_ID_CHARS``) and what comes behind
    ``MOST_MODELS`` are left out, but never ``wanted``.
    """
    entries: Any = cast("dict[str, Any]", body).get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        return None
    models: dict[str, dict[str, Any]] = {}
    for entry in cast("list[Any]", entries):
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        model = fields.get("id")
        if not isinstance(model, str) or not model:
            continue
        is_fit = len(model) <= MOST_ID_CHARS and model.isprintable() and len(models) < MOST_MODELS
        if is_fit or model == wanted:
            models[model] = fields
    return models


def first_chat_model(models: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the first model that can chat, as far as its server says so or its name; ``None``: there is none."""
    return next((name for name, fields in models.items() if _can_chat(name, fields)), None)


def context_tokens(model: Mapping[str, Any]) -> int | None:
    """Read vLLM's ``max_model_len``, llama.cpp's ``meta.n_ctx``, or Anthropic's ``max_input_tokens``.

    ``None`` where the server does not say.
    """
    meta: Any = model.get("meta")
    meta = cast("dict[str, Any]", meta) if isinstance(meta, dict) else {}
    own = count_of(model.get("max_model_len")) or count_of(meta.get("n_ctx"))
    return own or count_of(model.get("max_input_tokens"))


def count_of(value: object) -> int | None:
    """Return a count of tokens, ``None`` for anything else that may stand in its place."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS:
        return value
    return None


def _can_chat(name: str, fields: Mapping[str, Any]) -> bool:
    kinds = [kind.lower() for kind in _kinds(fields)]
    if any(kind in _CHAT_KINDS for kind in kinds):
        return True
    if any(_NOT_CHAT_KINDS.search(kind) for kind in kinds):
        return False
    return _NOT_CHAT_NAMES.search(name) is None


def _kinds(fields: Mapping[str, Any]) -> list[str]:
    """Return what a server says that a model is for, in whatever field it says so."""
    found: list[str] = []
    for name in ("type", "task", "model_type", "pipeline_tag", "capabilities", "tasks"):
        value: Any = fields.get(name)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in cast("list[Any]", value) if isinstance(item, str)]
        elif isinstance(value, dict):
            found += [str(key) for key, on in cast("dict[Any, Any]", value).items() if on is True]
    return found
