"""What of the Hugging Face hub somebody means: a curated model, a repository, one of its files, or an address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from core.errors import InvalidRequest, ModelNotFound
from core.local import curated

DEFAULT_ENDPOINT = "https://huggingface.co"
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
_OTHER_KINDS = ("datasets", "spaces", "collections", "papers", "docs", "blog", "models", "api")
_EXAMPLES = (
    "Write it like Qwen/Qwen3-4B-GGUF, Qwen/Qwen3-4B-GGUF:Q4_K_M, or the address of its page on the hub."
)
_PREFERRED = (
    "Q4_K_M",
    "Q4_K_S",
    "Q5_K_M",
    "Q4_0",
    "IQ4_XS",
    "Q5_K_S",
    "Q6_K",
    "Q8_0",
    "Q3_K_M",
    "F16",
    "BF16",
)
"""Which quantisation is taken where none is named: the usual balance of size and quality first."""
_NO_MODEL = re.compile(r"mmproj|imatrix|(?:^|[-_./])(?:vocab|lora|adapter)(?:[-_.]|$)", re.IGNORECASE)
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_VLLM_SUFFIXES = (
    ".safetensors",
    ".json",
    ".txt",
    ".model",
    ".jinja",
    ".tiktoken",
    ".py",
    ".vocab",
    ".merges",
)
_VLLM_LEFT_OUT = ("original/", "onnx/", "openvino/", "gguf/", "consolidated")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. ``size_bytes`` is ``None`` where the hub does not say."""

    name: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """``file`` is a file's name, or a quantisation (``Q4_K_M``), or empty: whichever suits."""

    repo: str
    file: str = ""
    revision: str | None = None
    title: str = ""


def read_name(what: str, endpoint: str = DEFAULT_ENDPOINT) -> Wanted:
    """Return what ``what`` names.

    Raises:
        InvalidRequest: it names nothing on the hub.
    """
    text = what.strip()
    listed = curated.find(text)
    if listed is not None:
        return Wanted(listed.repo, listed.file, title=listed.name)
    host = urlsplit(endpoint).netloc.lower()
    if "://" in text:
        return _read_address(text, host)
    for prefix in (*_HOSTS, host):
        if prefix and text.lower().startswith(f"{prefix}/"):
            return _read_address(f"https://{text}", host)
    repo, _, file = text.partition(":")
    if not _is_repo(repo):
        raise InvalidRequest(f"“{_short(text)}” names no model on the hub.", hint=_EXAMPLES)
    return Wanted(repo, file.strip())


def _read_address(address: str, host: str) -> Wanted:
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or parts.netloc.lower() not in (*_HOSTS, host):
        raise InvalidRequest(f"“{_short(address)}” is no address of the hub.", hint=_EXAMPLES)
    path = [unquote(part) for part in parts.path.split("/") if part]
    repo, _, quantisation = "/".join(path[:2]).partition(":")
    if len(path) < 2 or path[0] in _OTHER_KINDS or not _is_repo(repo):
        raise InvalidRequest(f"“{_short(address)}” is no model’s address.", hint=_EXAMPLES)
    if len(path) > 3 and path[2] in ("blob", "resolve", "tree", "raw"):
        revision = None if path[3] == "main" else path[3]
        return Wanted(repo, "/".join(path[4:]) if path[2] != "tree" else "", revision)
    return Wanted(repo, quantisation)


def _is_repo(text: str) -> bool:
    return _REPO.fullmatch(text) is not None and ".." not in text and "--" not in text


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def choose_gguf(files: Sequence[HubFile], wanted: Wanted) -> list[HubFile]:
    """Return the one GGUF file that is meant, or all parts of it.

    Raises:
        ModelNotFound: the repository has none, or not that one.
    """
    models: dict[str, list[HubFile]] = {}
    for file in files:
        base = file.name.rsplit("/", 1)[-1]
        if base.lower().endswith(".gguf") and not _NO_MODEL.search(base):
            models.setdefault(_PART.sub("", file.name).removesuffix(".gguf"), []).append(file)
    if not models:
        raise ModelNotFound(
            f"{wanted.repo} has no GGUF file, which the embedded server needs.",
            hint=f"Look for “{wanted.repo.split('/')[1]} GGUF” on the hub, or download it for the vLLM container.",
        )
    chosen = _named(models, wanted.file) if wanted.file else _preferred(models)
    if chosen is None:
        names = ", ".join(sorted(name.rsplit("/", 1)[-1] for name in models)[:6])
        raise ModelNotFound(f"{wanted.repo} has no {wanted.file}.", hint=f"It has {names}.")
    parts = sorted(models[chosen], key=lambda file: file.name)
    numbered = _PART.search(parts[0].name)
    if numbered is not None and len(parts) != int(numbered[2]):
        raise ModelNotFound(
            f"{wanted.repo} has {len(parts)} of the {int(numbered[2])} parts of {chosen}.",
            hint="Take another file.",
        )
    return parts


def _named(models: dict[str, list[HubFile]], file: str) -> str | None:
    wanted = _PART.sub("", file)
    wanted = wanted[: -len(".gguf")] if wanted.lower().endswith(".gguf") else wanted
    for stem in models:
        if wanted in (stem, stem.rsplit("/", 1)[-1]):
            return stem
    return _of_quantisation(models, file)


def _of_quantisation(models: dict[str, list[HubFile]], quantisation: str) -> str | None:
    pattern = re.compile(rf"(?:^|[-_./]){re.escape(quantisation)}(?:$|/)", re.IGNORECASE)
    found = [stem for stem in models if pattern.search(stem)]
    return min(found, key=len, default=None)


def _preferred(models: dict[str, list[HubFile]]) -> str:
    for quantisation in _PREFERRED:
        if (found := _of_quantisation(models, quantisation)) is not None:
            return found
    return min(models, key=lambda stem: sum(file.size_bytes or 0 for file in models[stem]))


def choose_for_vllm(files: Sequence[HubFile], repo: str) -> list[HubFile]:
    """Return the files that vLLM loads of a repository: its weights, its settings and its tokenizer.

    Raises:
        ModelNotFound: it has no weights that vLLM loads.
    """
    suffixes = _VLLM_SUFFIXES
    if not any(file.name.endswith(".safetensors") for file in files):
        if not any(file.name.endswith(".bin") for file in files):
            raise ModelNotFound(
                f"{repo} has no weights that vLLM loads (.safetensors).",
                hint="Repositories whose names end in GGUF are for the embedded server.",
            )
        suffixes = (*suffixes, ".bin")
    return [
        file
        for file in files
        if file.name.endswith(suffixes) and not file.name.lower().startswith(_VLLM_LEFT_OUT)
    ]
