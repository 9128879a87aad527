"""The settings of the vLLM container that users change: what each may be, and what they become of a command line.

They are kept as an override file (``vllm_override``); the compose file itself is the user's own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from core.base.redaction import redact

OVERRIDE_FILE = Path("vllm", "compose.override.yml")
KNOWN_VERSION = "v0.32"
"""The release whose names stand below. For another image tag any name goes: it may know others."""

QUANTIZATIONS = (
    "awq",
    "auto_awq",
    "awq_marlin",
    "gptq",
    "auto_gptq",
    "gptq_marlin",
    "fp8",
    "fp8_per_tensor",
    "fp8_per_block",
    "fp8_per_channel",
    "int8_per_channel_weight_only",
    "experts_int8",
    "compressed-tensors",
    "modelopt",
    "modelopt_fp4",
    "modelopt_mxfp8",
    "modelopt_mixed",
    "mxfp4",
    "mxfp8",
    "gpt_oss_mxfp4",
    "nvfp4_per_token",
    "moe_wna16",
    "quark",
    "torchao",
    "inc",
    "humming",
    "online",
    "deepseek_v4_fp8",
    "fbgemm_fp8",
    "fp_quant",
)
_TOOL_PARSER_NAMES = (
    "apertus cohere_command3 cohere_command4 deepseek_v3 deepseek_v31 deepseek_v32 deepseek_v4 deepseek_v41 dots "
    "ernie45 functiongemma gemma4 gigachat3 glm45 glm47 granite granite-20b-fc granite4 hermes hf hunyuan_a13b "
    "hy_v3 hy_v4 inkling internlm jamba k2_horizon kimi_k2 kimi_k3 lfm2 ling3 llama3_json llama4_json "
    "llama4_pythonic longcat mimo minicpm5 minimax_m2 minimax_m3 mistral muse_glimmer olmo3 openai phi4_mini_json "
    "plamo3 poolside_v1 pythonic qwen3_coder qwen3_json qwen3_xml seed_oss step3 step3p5 xlam"
)
TOOL_PARSERS = tuple(_TOOL_PARSER_NAMES.split())
_PARSER_OF: tuple[tuple[str, str], ...] = (
    # The first that is found in the model's name counts, so the narrower comes first.
    (r"qwen3[._-]?(?:next-)?coder", "qwen3_coder"),
    (r"xlam", "xlam"),
    (r"hermes", "hermes"),
    (r"functiongemma", "functiongemma"),
    (r"gemma-?4", "gemma4"),
    (r"gpt-oss", "openai"),
    (r"deepseek-?v3\.2", "deepseek_v32"),
    (r"deepseek-?v3\.1", "deepseek_v31"),
    (r"deepseek-?(?:v3|r1(?!-distill))", "deepseek_v3"),
    (r"llama-?4", "llama4_pythonic"),
    (r"llama-?3", "llama3_json"),
    (r"mistral|mixtral|ministral|magistral|devstral|codestral", "mistral"),
    (r"granite-?4", "granite4"),
    (r"granite-20b-functioncalling", "granite-20b-fc"),
    (r"granite", "granite"),
    (r"phi-?4-mini", "phi4_mini_json"),
    (r"glm-?4\.7", "glm47"),
    (r"glm-?4\.[56]", "glm45"),
    (r"kimi-?k2", "kimi_k2"),
    (r"minimax-?m2", "minimax_m2"),
    (r"internlm", "internlm"),
    (r"jamba", "jamba"),
    (r"lfm-?2", "lfm2"),
    (r"olmo-?3", "olmo3"),
    (r"seed-oss", "seed_oss"),
    (r"hunyuan-a13b", "hunyuan_a13b"),
    (r"ernie-?4\.5", "ernie45"),
    (r"qwen|qwq", "hermes"),
)
"""A model's family and the parser of its tool calls, by vLLM's page on tool calling."""

FORM_FLAGS: dict[str, str] = {
    "model": "--model",
    "served_model_name": "--served-model-name",
    "quantization": "--quantization",
    "max_model_len": "--max-model-len",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "tensor_parallel_size": "--tensor-parallel-size",
    "tool_call_parser": "--tool-call-parser",
}
ALIASES = {
    "-q": "--quantization",
    "-tp": "--tensor-parallel-size",
    "--device-memory-utilization": "--gpu-memory-utilization",
}
_COMPOSE_FLAGS = ("--host", "--port")
_SECRET_FLAGS = ("--hf-token", "--api-key", "--ssl-keyfile-password")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][\w.-]{0,127}", re.ASCII)
MOST_EXTRA_ARGS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """What the form holds. ``None`` leaves what the compose file says.

    ``max_model_len`` in tokens, ``gpu_memory_utilization`` a share from 0 to 1, ``extra_args`` one argument each.
    """

    model: str | None = None
    served_model_name: str | None = None
    quantization: str | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int | None = None
    tool_call_parser: str | None = None
    extra_args: tuple[str, ...] = ()
    image_tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFault:
    """A field that can't be applied, and why."""

    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmPlan:
    """What applying the form would do: faults by field, and a unified diff of the override file.

    ``restart_needed``: a running container has to be started anew. ``effective`` is what the container would get,
    the compose file's own included. ``notes`` are sentences that the user should read before applying: what is set
    aside, what does not go together. ``set_aside`` is the file in which an apply kept what was changed by hand.
    """

    faults: tuple[SettingFault, ...]
    diff: str
    effective: VllmSettings
    restart_needed: bool
    notes: tuple[str, ...] = ()
    set_aside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerContext:
    """A place that Docker reaches: ``name``, its ``endpoint`` and what that is (``local engine``, ``over SSH``,
    ``Podman``). ``current`` is the one the docker CLI would use; ``chosen`` the one Signalbox uses."""

    name: str
    endpoint: str
    words: str
    current: bool = False
    chosen: bool = False


def override_path(home: Path) -> Path:
    """Return where the form's settings are kept, as a compose file that goes on top of the user's own."""
    return home / OVERRIDE_FILE


def tool_parser_of(model: str) -> str | None:
    """Return the parser of the tool calls that ``model``'s family makes; ``None`` where the name tells none."""
    name = model.lower()
    return next((parser for pattern, parser in _PARSER_OF if re.search(pattern, name)), None)


# -- what each field may be -----------------------------------------------------------------------------------


def faults_of(wanted: VllmSettings) -> tuple[SettingFault, ...]:
    """Return what can't be applied, one fault a field at most, in the form's order."""
    tag = wanted.image_tag
    knows_names = tag is None or tag.startswith(KNOWN_VERSION)
    checks: dict[str, Callable[[], str | None]] = {
        "model": lambda: _model_fault(wanted.model),
        "served_model_name": lambda: _name_fault(wanted.served_model_name),
        "quantization": lambda: _choice_fault(wanted.quantization, QUANTIZATIONS, strict=knows_names),
        "max_model_len": lambda: _whole_fault(wanted.max_model_len, 1, 10_000_000, "tokens"),
        "gpu_memory_utilization": lambda: _share_fault(wanted.gpu_memory_utilization),
        "tensor_parallel_size": lambda: _whole_fault(wanted.tensor_parallel_size, 1, 64, "GPUs"),
        "tool_call_parser": lambda: _choice_fault(wanted.tool_call_parser, TOOL_PARSERS, strict=knows_names),
        "extra_args": lambda: _extra_fault(wanted.extra_args),
        "image_tag": lambda: _tag_fault(tag),
    }
    assert set(checks) == {field.name for field in fields(VllmSettings)}
    return tuple(
        SettingFault(name=name, message=message)
        for name, check in checks.items()
        if (message := check()) is not None
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() and value.isprintable() else None


def _model_fault(value: object) -> str | None:
    if value is None:
        return None
    text = _text(value)
    if text is None:
        return "It is empty, or holds what can't be printed. Leave it out to take the compose file's model."
    if text.startswith("/"):
        return None if len(text) <= 1024 and "\\" not in text else "The path is too long, or no path."
    if text.startswith(("~", "./", "../")) or re.match(r"[A-Za-z]:[\\/]", text):
        return "A path has to be the one inside the container, such as /models/mine: a whole path that is mounted."
    if text.lower().endswith(".gguf") or ":" in text:
        return "vLLM takes a whole repository, not one file of it. A GGUF file is for the embedded server."
    if not _REPO.fullmatch(text) or ".." in text or "--" in text:
        return "It is no repository, such as Qwen/Qwen2.5-7B-Instruct, and no path that begins with /."
    return None


def _name_fault(value: object) -> str | None:
    if value is None:
        return None
    text = _text(value)
    if text is None or len(text) > 200 or any(character.isspace() for character in text):
        return "A name is up to 200 printable characters without spaces."
    return "A name can't begin with a dash: vLLM would take it for an argument." if text[0] == "-" else None


def _choice_fault(value: object, known: Sequence[str], *, strict: bool) -> str | None:
    if value is None or (isinstance(value, str) and value in known):
        return None
    if not isinstance(value, str) or not _PLAIN_NAME.fullmatch(value):
        return f"vLLM does not know this name. {_alike(value, known)}"
    return (
        None if not strict else f"vLLM {KNOWN_VERSION} does not know {_quoted(value)}. {_alike(value, known)}"
    )


def _alike(value: object, known: Sequence[str]) -> str:
    """Name the few that look most like ``value``: nobody reads fifty."""
    found = difflib.get_close_matches(str(value).lower()[:60], known, n=3, cutoff=0.0)
    names = f"{', '.join(found[:-1])} or {found[-1]}" if len(found) > 1 else "".join(found)
    return f"Of the {len(known)} that it knows, {names} come closest."


def _whole_fault(value: object, least: int, most: int, unit: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        return f"It is a whole number from {least:,} to {most:,} {unit}."
    return None


def _share_fault(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.05 <= value <= 1:
        return "It is a share of the GPU's memory, from 0.05 to 1, such as 0.90."
    return None


def _tag_fault(value: object) -> str | None:
    if value is None or (isinstance(value, str) and _TAG.fullmatch(value)):
        return None
    return "It is a tag alone, such as v0.32.0: letters, digits, dots, dashes, up to 128 of them."


def _extra_fault(arguments: object) -> str | None:
    if not isinstance(arguments, tuple):
        return "They are texts, one argument each."
    given = cast("tuple[object, ...]", arguments)
    words = tuple(word for word in given if isinstance(word, str))
    if len(words) != len(given):
        return "They are texts, one argument each."
    if len(words) > MOST_EXTRA_ARGS or any(len(word) > 4096 for word in words):
        return f"At most {MOST_EXTRA_ARGS} arguments of 4,096 characters each."
    if words and not words[0].startswith("-"):
        return f"{_quoted(words[0])} belongs to no argument: the first one has to begin with a dash."
    return next((fault for word in words if (fault := _word_fault(word)) is not None), None)


def _word_fault(word: str) -> str | None:
    if not word.strip() or not word.isprintable():
        return "An argument is empty, or holds what can't be printed."
    if not word.startswith("-"):
        return _SECRET if _is_secret(word) else None
    flag = flag_of(word)
    if re.match(r"-\S+\s", word) and "=" not in word.partition(" ")[0]:
        return f"{_quoted(word)} is two arguments: put {flag} and its value apart."
    # vLLM takes any unambiguous beginning of a flag for the flag.
    named = [name for name in _SECRET_FLAGS if name == flag or (len(flag) > 4 and name.startswith(flag))]
    if named or _is_secret(word):
        return _SECRET
    if flag in _COMPOSE_FLAGS:
        return f"{flag} belongs to the compose file, whose published port and health check count on it."
    if flag in FORM_FLAGS.values():
        field = next(name for name, owned in FORM_FLAGS.items() if owned == flag)
        return f"{flag} has a field of its own ({field}): set it there."
    return None


_SECRET = (
    "A key or token would be seen by every user of this machine there. Store it instead: signalbox keys set "
    "huggingface (or vllm); it goes into the container's environment."
)


def _is_secret(word: str) -> bool:
    return redact(word) != word or redact(f"x {word}") != f"x {word}"


def _quoted(word: str) -> str:
    return f"“{word[:60]}”"


# -- the command line ---------------------------------------------------------------------------------------------


def flag_of(word: str) -> str:
    """Return the flag of an argument by its full name: ``--max-model-len`` of ``--max_model_len=8``."""
    flag = word.partition("=")[0].split(" ")[0]
    if flag.startswith("--"):
        flag = flag.replace("_", "-")
    return ALIASES.get(flag, flag)


def settings_of(command: Sequence[str], image: str = "") -> VllmSettings:
    """Read a command line back into what the form holds; what is not the form's own is in ``extra_args``."""
    found: dict[str, str] = {}
    rest: list[str] = []
    for flag, values in grouped(command):
        field = next((name for name, owned in FORM_FLAGS.items() if owned == flag), None)
        if field is not None and values:
            found[field] = values[0]
        elif flag == "" and values and "model" not in found:
            found["model"] = values[0]  # vllm serve MODEL
            rest += values[1:]
        elif flag not in _COMPOSE_FLAGS:
            rest += [flag, *values] if flag else values
    return VllmSettings(
        model=found.get("model"),
        served_model_name=found.get("served_model_name"),
        quantization=found.get("quantization"),
        max_model_len=_length(found.get("max_model_len")),
        gpu_memory_utilization=_number(found.get("gpu_memory_utilization")),
        tensor_parallel_size=_length(found.get("tensor_parallel_size")),
        tool_call_parser=found.get("tool_call_parser"),
        extra_args=tuple(rest),
        image_tag=tag_of(image),
    )


def grouped(command: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each flag with its values; what stands before the first flag has the flag ``""``."""
    groups: list[tuple[str, list[str]]] = []
    for word in command:
        if word.startswith("-") and not re.fullmatch(r"-\d+(?:\.\d+)?", word):
            groups.append((flag_of(word), [word.partition("=")[2]] if "=" in word else []))
        elif groups:
            groups[-1][1].append(word)
        else:
            groups.append(("", [word]))
    return groups


def changed_command(base: Sequence[str], wanted: VllmSettings) -> list[str]:
    """Return ``base`` with the flags of ``wanted`` changed where they stand, and added where they do not.

    A served name that was the model's own follows the model; the parser of tool calls follows its family.
    """
    was = settings_of(base)
    values: dict[str, str] = {}
    for field, flag in FORM_FLAGS.items():
        value = getattr(wanted, field)
        if value is not None:
            values[flag] = f"{value:g}" if isinstance(value, float) else str(value)
    if wanted.model is not None:
        if wanted.served_model_name is None and was.served_model_name in (None, was.model):
            values["--served-model-name"] = wanted.model
        if wanted.tool_call_parser is None and (parser := tool_parser_of(wanted.model)) is not None:
            values["--tool-call-parser"] = parser
    command: list[str] = []
    left = dict(values)
    extra_flags = {flag_of(word) for word in wanted.extra_args if word.startswith("-")}
    for flag, words in grouped(base):
        if flag == "" and "--model" in values:
            command += [left.pop("--model"), *words[1:]]
        elif flag in values:
            if flag in left:
                command += [flag, left.pop(flag)]
        elif flag not in extra_flags:
            command += [flag, *words] if flag else words
    for flag, value in left.items():
        command += [flag, value]
    if "--tool-call-parser" in values and "--enable-auto-tool-choice" not in command:
        command.append("--enable-auto-tool-choice")
    return [*command, *wanted.extra_args]


def tag_of(image: str) -> str | None:
    """Return an image's tag, ``None`` where it names none (or a digest alone)."""
    name = image.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    return tag if colon and "/" not in tag and repository else None


def with_tag(image: str, tag: str) -> str:
    """Return ``image`` of another tag; a digest, which would win over it, is left out."""
    name = image.partition("@")[0]
    current = tag_of(name)
    return f"{name[: -len(current) - 1] if current else name}:{tag}"


def _length(text: str | None) -> int | None:
    """Read ``8192``, and vLLM's ``16k`` (thousands) and ``16K`` (1,024)."""
    match = re.fullmatch(r"(\d{1,12})([kKmMgG]?)", text or "")
    if match is None:
        return None
    scale = {"": 1, "k": 1000, "K": 1024, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}[match[2]]
    return int(match[1]) * scale


def _number(text: str | None) -> float | None:
    return (
        float(text) if text is not None and re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?|\.\d{1,9}", text) else None
    )
