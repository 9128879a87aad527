"""The pre-flight checks of the model: disk for it, a token where its owner asks for one, and whether it fits."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from core.base.async_tools import in_daemon_thread
from core.base.text import file_size, memory_size
from core.errors import KeyHeldBack
from core.local.docker_cli import DockerError
from core.local.fit import ONLINE_BITS, FitEstimate, in_k
from core.local.gpu_sample import GpuReading
from core.local.preflight import TITLES, CheckName, FixSetting, PreflightCheck
from core.local.preflight_docker import image_bytes, no_answer
from core.local.preflight_facts import Asked, Check, Notes
from core.local.vllm_settings import VllmSettings, flag_of

IMAGE_BYTES = 30_000_000_000
"""A vLLM image while it is pulled and unpacked, roughly."""
SPARE_BYTES = 5_000_000_000
_GATED = re.compile(
    r"meta-llama/|google/(?:gemma|codegemma|shieldgemma|medgemma)|mistralai/(?:codestral|mistral-large|ministral|"
    r"mistral-small-instruct-2409|pixtral-large)|coherelabs/|cohereforai/c4ai|ai21labs/|bigcode/starcoder|"
    r"nvidia/.*(?:minitron-gated)|databricks/dbrx|tiiuae/falcon-180b|stabilityai/stablelm-2-12b",
    re.IGNORECASE,
)
"""Repositories that ask for an account which accepted their licence, as far as names tell."""


def is_gated(model: str) -> bool:
    """Whether the owner of ``model`` is known to ask for a token; many a copy of it by others does not."""
    return _GATED.match(model) is not None


# -- disk ------------------------------------------------------------------------------------------------------


async def check_disk(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    title = TITLES["disk"]
    try:
        planned, info, remote = await asked.planned(), await asked.info(), await asked.is_remote()
        has_image = await image_bytes(asked, planned.image) is not None
    except DockerError as error:
        return no_answer("disk", error.failure)
    facts, estimate = await asked.facts(), await asked.estimate(())
    weights = 0 if facts is None or facts.where else estimate.weights_bytes if estimate is not None else None
    if weights and estimate is not None:
        weights *= estimate.gpus  # the estimate is of one GPU's part
    needed = (0 if has_image else IMAGE_BYTES) + (weights or 0)
    parts = [*([] if has_image else ["the image"]), *([] if weights == 0 else ["the weights"])]
    words = f"{file_size(needed)} for {' and '.join(parts)}" if parts and needed else ""
    root = Path(str(info.get("DockerRootDir") or "/"))
    bound = [Path(source) for source in planned.service.volumes if source.startswith("/")]
    if remote or not root.is_absolute():
        return _elsewhere("it is another machine's", words, ".")
    free = await in_daemon_thread(
        lambda: _free_bytes(bound[0] if bound and has_image else root), name="preflight disk"
    )
    if free is None:
        how = "; Docker Desktop's settings show how much there is."
        return _elsewhere("Docker keeps it in a machine of its own", words, how)
    found = f"{file_size(free)} left"
    unknown = "" if weights is not None else " What the weights take is not known."
    if needed and free < needed:
        return PreflightCheck(
            name="disk",
            title=title,
            state="failed"
            if free < needed * 0.8
            else "warning",  # the sizes are rough, the end of a disk is not
            found=found,
            fix=f"About {words} are needed where Docker keeps its data ({root}). Free some, or move Docker's data "
            f"(data-root).{unknown}",
            commands=("docker system df", "docker system prune"),
        )
    if free < needed + SPARE_BYTES:
        return PreflightCheck(
            name="disk",
            title=title,
            state="warning",
            found=found,
            fix=f"That is little beside {words or 'what a running container writes'}.{unknown}",
            matters=False,
            commands=("docker system df",),
        )
    return PreflightCheck(name="disk", title=title, state="ok", found=found)


def _elsewhere(found: str, words: str, how: str) -> PreflightCheck:
    """Return the answer of a disk that can't be looked at from here, which needs ``words``."""
    return PreflightCheck(
        name="disk",
        title=TITLES["disk"],
        state="unknown",
        found=found,
        fix=f"It needs {words} there{how}" if words else "",
        matters=False,
    )


def _free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the disk that holds ``folder``; ``None`` where this machine has no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except PermissionError:
        return shutil.disk_usage(folder.parent).free if folder.parent.exists() else None
    except OSError:
        return None


# -- the token -------------------------------------------------------------------------------------------------


async def check_token(asked: Asked, notes: Notes) -> PreflightCheck:
    del notes
    title = TITLES["token"]
    try:
        model = (await asked.planned()).effective.model
        facts = await asked.facts()
    except DockerError as error:
        return no_answer("token", error.failure)
    if (
        model is None
        or model.startswith("/")
        or (facts is not None and facts.where and facts.checkpoint_bytes)
    ):
        found = "the weights are here already" if facts is not None and facts.where else "not needed"
        return PreflightCheck(name="token", title=title, state="not_needed", found=found)
    if not is_gated(model):  # then nobody is asked for a keyring's password either
        return PreflightCheck(
            name="token", title=title, state="not_needed", found="not needed", matters=False
        )
    page = f"https://huggingface.co/{model}"
    try:
        token = await asked.token()
    except KeyHeldBack as held_back:
        fix = f"{held_back.message} {held_back.hint}"
        return PreflightCheck(name="token", title=title, state="failed", found="held back", fix=fix)
    if token:
        fix = f"If the start is refused: open {page} and accept the licence with this token's account."
        return PreflightCheck(name="token", title=title, state="ok", found="stored", fix=fix)
    commands = ["signalbox keys set huggingface"]
    login = Path.home() / ".cache" / "huggingface" / "token"
    if await in_daemon_thread(login.is_file, name="preflight token"):
        commands.append(f"signalbox keys set huggingface < {login}")
    return PreflightCheck(
        name="token",
        title=title,
        state="failed",
        found="missing",
        fix=f"{model} is given only to who accepted its licence. Open {page}, accept it, make a token at "
        "huggingface.co/settings/tokens, and store it.",
        commands=tuple(commands),
    )


# -- fit -------------------------------------------------------------------------------------------------------


async def check_fit(asked: Asked, notes: Notes) -> PreflightCheck:
    title = TITLES["fit"]
    try:
        planned = await asked.planned()
        gpus = await asked.gpus() if planned.service.wants_gpu else ()
        found = await asked.estimate(gpus)
    except DockerError as error:
        return no_answer("fit", error.failure)
    notes.fit = found
    if found is None:
        return PreflightCheck(
            name="fit", title=title, state="unknown", found="the command names no model", matters=False
        )
    refused = await _wrong_format(asked, planned.effective)
    too_long = await _too_long(asked, planned.effective)
    refused = refused or (too_long if too_long is not None and too_long.state == "failed" else None)
    if refused is not None:
        return refused
    title = _title(found)
    if not planned.service.wants_gpu:
        return too_long or PreflightCheck(
            name="fit", title=title, state="not_needed", found="no GPU is reserved", matters=False
        )
    wanted_gpus = planned.effective.tensor_parallel_size or 1
    if gpus and wanted_gpus > len(gpus):
        return PreflightCheck(
            name="fit",
            title=title,
            state="failed",
            found=f"{len(gpus)} of {wanted_gpus} GPUs",
            fix=f"The model is to be shared by {wanted_gpus} GPUs, and there "
            f"{'is' if len(gpus) == 1 else 'are'} {len(gpus)}. Lower tensor_parallel_size.",
            fix_setting=FixSetting(label=f"Use {len(gpus)}", name="tensor_parallel_size", value=len(gpus)),
        )
    judged = _judged(found, title, gpus, planned.effective, is_running=await _runs(asked))
    return too_long if too_long is not None and (judged.ok or judged.state == "unknown") else judged


def _title(found: FitEstimate) -> str:
    if found.needed_bytes is None:
        return TITLES["fit"]
    least = "at least " if found.kv_cache_bytes is None else ""
    text = f"Fit: {least}{memory_size(found.needed_bytes)}"
    if found.available_bytes is not None:
        text += f" of {memory_size(found.available_bytes)}"
    if found.context_tokens is not None:
        text += f" at {in_k(found.context_tokens)}{' context' if found.context_tokens % 1024 == 0 else ''}"
    return text


def _judged(
    found: FitEstimate,
    title: str,
    gpus: tuple[GpuReading, ...],
    effective: VllmSettings,
    *,
    is_running: bool,
) -> PreflightCheck:
    best = found.options[0] if found.options else None
    setting = next((option for option in found.options if _is_setting(option.name, option.value)), None)
    fix_setting = None
    if setting is not None and isinstance(setting.value, int | float | str):
        value = setting.value
        shown = in_k(value) if setting.name == "max_model_len" and isinstance(value, int) else str(value)
        fix_setting = FixSetting(label=f"Use {shown}", name=setting.name, value=value)
        best = setting
    words = best.words if best is not None else ""
    others = " ".join(option.words for option in found.options if option is not best)
    match found.verdict:
        case "too_big":
            fix = f"{words} {others}".strip()
            if fix_setting is None:
                fix = f"Choose a smaller model, or fewer bits a weight. {fix}".strip()
            return PreflightCheck(
                name="fit", title=title, state="failed", found="too big", fix=fix, fix_setting=fix_setting
            )
        case "tight":
            share = effective.gpu_memory_utilization
            line = "over the share vLLM takes" if share is not None and share < 0.85 else "over the 85 % line"
            return PreflightCheck(
                name="fit", title=title, state="warning", found=line, fix=words, fix_setting=fix_setting
            )
        case "fits":
            return _room(found, title, gpus, effective, is_running=is_running)
        case _:
            fix = found.missing
            if not gpus:
                fix = f"{fix} No GPU can be seen from here to hold it against.".strip()
            return PreflightCheck(
                name="fit", title=title, state="unknown", found="not known", fix=fix, matters=False
            )


def _room(
    found: FitEstimate,
    title: str,
    gpus: tuple[GpuReading, ...],
    effective: VllmSettings,
    *,
    is_running: bool,
) -> PreflightCheck:
    """It fits; but vLLM takes its whole share at once, and refuses to start where others have some of it."""
    fullest = max(gpus, key=lambda gpu: gpu.vram_used_bytes or 0)
    used, total = fullest.vram_used_bytes, fullest.vram_total_bytes or 0
    share = effective.gpu_memory_utilization or 0.92
    if not is_running and used is not None and used + share * total > total:
        free_share = int((1 - used / total) * 100 - 1) / 100
        can = free_share >= 0.05 and (found.needed_bytes or 0) <= free_share * total
        fix = f"vLLM takes {share * 100:.0f} % of the GPU's memory as it starts; others use {memory_size(used)}. "
        fix += f"Close those, or let it take {free_share * 100:.0f} %." if can else "Close those first."
        setting = FixSetting(label=f"Use {free_share:.2f}", name="gpu_memory_utilization", value=free_share)
        return PreflightCheck(
            name="fit",
            title=title,
            state="warning",
            found="others use the GPU",
            fix=fix,
            fix_setting=setting if can else None,
        )
    return PreflightCheck(name="fit", title=title, state="ok", found="fits")


def _is_setting(name: str, value: object) -> bool:
    return value is not None and name in VllmSettings.__dataclass_fields__


async def _runs(asked: Asked) -> bool:
    planned = await asked.planned()
    label = "label=com.docker.compose"
    try:
        done = await asked.project.cli.run(
            *("ps", "--quiet", "--filter", f"{label}.project={planned.service.project}"),
            *("--filter", f"{label}.service={planned.service.service}"),
        )
    except DockerError:
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


async def _wrong_format(asked: Asked, effective: VllmSettings) -> PreflightCheck | None:
    """Say where the weights, which are here to be seen, are not of the format that the settings name."""
    facts, method = await asked.facts(), effective.quantization
    if facts is None or method is None or facts.source != "config.json":
        return None
    if facts.format == "" and method not in ONLINE_BITS and method not in ("online", "torchao", "inc"):
        return PreflightCheck(
            name="fit",
            title=TITLES["fit"],
            state="failed",
            found=f"the weights are not {method}",
            fix=f"{facts.model} has unquantized weights, which vLLM does not load as {method}. Take a repository "
            "of that format, or fp8, which is made while loading.",
            fix_setting=FixSetting(label="Use fp8", name="quantization", value="fp8"),
        )
    return None


_OF_LENGTH = ("--hf-overrides", "--rope-scaling", "--config-format")


async def _too_long(asked: Asked, effective: VllmSettings) -> PreflightCheck | None:
    """Say where a request may be longer than the model takes: vLLM refuses to start then, on any machine."""
    facts, wanted = await asked.facts(), effective.max_model_len
    if facts is None or wanted is None:
        return None
    flags = {flag_of(word) for word in effective.extra_args}
    if "VLLM_ALLOW_LONG_MAX_MODEL_LEN" in (await asked.planned()).service.environment or flags & {
        *_OF_LENGTH
    }:
        return None
    is_read = facts.source == "config.json"
    longest = facts.longest_tokens if is_read else facts.context_tokens
    if longest is None or wanted <= longest:
        return None
    source = "" if is_read else " (as Signalbox's table has it)"
    return PreflightCheck(
        name="fit",
        title=TITLES["fit"],
        state="failed" if is_read else "warning",
        found="longer than the model takes",
        fix=f"The longest request is set to {wanted:,} tokens, and {facts.model} takes {longest:,}{source}: vLLM "
        f"refuses to start then. Set it to {longest:,} or less.",
        fix_setting=FixSetting(label=f"Use {in_k(longest)}", name="max_model_len", value=longest),
    )


MODEL_CHECKS: dict[CheckName, Check] = {"disk": check_disk, "token": check_token, "fit": check_fit}
