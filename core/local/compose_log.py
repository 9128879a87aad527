"""What vLLM's log, Compose's words and a container's end say: the progress of a start, and why it failed."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from core.base.redaction import redact, redact_lines
from core.base.text import sentence
from core.local.server import FailureKind, ServerFailure, StartStepName

FAILURE_LINES = 50
KILLED_EXIT = 128 + 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a line says of a start: the step it is at, a short fact, and how far that is (0 to 1)."""

    step: StartStepName
    detail: str = ""
    progress: float | None = None
    download_s: float = 0.0


_SHARDS = re.compile(r"Loading \S+ checkpoint shards:\s+(\d+)% Completed \| (\d+)/(\d+)")
_GRAPHS = re.compile(r"Capturing CUDA graph\w*.*?:\s+(\d+)%\|.*?\| (\d+)/(\d+)")
_DOWNLOADED = re.compile(r"Time spent downloading weights for .*?: ([\d.]+) seconds")
_STEPS: tuple[tuple[re.Pattern[str], StartStepName, str], ...] = (
    (re.compile(r"Initializing a V1 LLM engine|Resolved architecture"), "load", "starting the engine"),
    (re.compile(r"Starting to load model"), "load", "reading the model"),
    (re.compile(r"Model loading took|Loading weights took"), "warm_up", "weights loaded"),
    (
        re.compile(r"Using cache directory.*torch\.compile|Dynamo bytecode|Compiling a graph"),
        "warm_up",
        "compiling",
    ),
    (re.compile(r"torch\.compile (?:took|takes)|profiling/warmup run"), "warm_up", "profiling memory"),
    (re.compile(r"KV cache (?:size|memory)|for KV cache on node"), "warm_up", "setting up the KV cache"),
    (re.compile(r"Graph capturing finished|init engine \(profile"), "warm_up", "starting the API"),
    (
        re.compile(r"Starting vLLM (?:API )?server|Application startup complete"),
        "warm_up",
        "starting the API",
    ),
)
_KEYWORDS = (
    "oading",
    "apturing",
    "V1 LLM",
    "architecture",
    "compil",
    "Dynamo",
    "KV cache",
    "engine",
    "start",
)
_ORDER: tuple[StartStepName, ...] = ("pull", "create", "load", "warm_up")


def read_progress(line: str) -> Progress | None:
    """Return what ``line`` says of the progress of a start, ``None`` where it says nothing."""
    if not any(word in line for word in _KEYWORDS):
        return None
    if found := _SHARDS.search(line):
        done, of = int(found[2]), int(found[3])
        return Progress(
            step="load", detail=f"shard {done} of {of}", progress=done / of if of else int(found[1]) / 100
        )
    if found := _GRAPHS.search(line):
        return Progress(step="warm_up", detail="capturing CUDA graphs", progress=int(found[1]) / 100)
    if found := _DOWNLOADED.search(line):
        return Progress(step="load", detail="weights downloaded", download_s=float(found[1]))
    for pattern, step, detail in _STEPS:
        if pattern.search(line):
            return Progress(step=step, detail=detail)
    return None


def is_later(newer: StartStepName, older: StartStepName) -> bool:
    """Whether the step ``newer`` comes after ``older`` or is the same one."""
    return _ORDER.index(newer) >= _ORDER.index(older)


# -- failures -----------------------------------------------------------------------------------------------

_Words = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class _Known:
    pattern: re.Pattern[str]
    kind: FailureKind
    what: _Words
    fix: _Words
    commands: tuple[str, ...] = ()


def _longest(found: re.Match[str]) -> str:
    most = re.search(r"estimated maximum model length is (\d+)", found.string)
    at_most = f" to {int(most[1]):,} or less" if most else ""
    return f"Set the longest request{at_most}, or give vLLM a larger share of the GPU's memory."


_TOOLKIT_COMMANDS = (
    "sudo nvidia-ctk runtime configure --runtime=docker",
    "sudo systemctl restart docker",
)
_BY_THE_ENGINE = (
    _Known(
        re.compile(
            r"could not select device driver|nvidia-container-cli|unknown or invalid runtime name: nvidia"
            r"|unresolvable CDI devices|failed to discover GPU vendor",
            re.I,
        ),
        "no_nvidia_toolkit",
        "Docker can't hand the GPU to a container: the NVIDIA Container Toolkit is not set up here.",
        "Install nvidia-container-toolkit, tell Docker of it, and start again.",
        _TOOLKIT_COMMANDS,
    ),
    _Known(
        re.compile(r"(?:port is already allocated|address already in use|bind: Only one usage)", re.I),
        "port_taken",
        "The port was taken by another program.",
        "End that program, or set VLLM_PORT to another port.",
    ),
    _Known(
        re.compile(r"no space left on device|disk quota exceeded", re.I),
        "disk_full",
        "The disk is full.",
        "Free some space (docker system df shows what Docker uses), then start again.",
        ("docker system df",),
    ),
    _Known(
        re.compile(
            r"no such image|manifest (?:for \S+ )?(?:unknown|not found)|pull access denied"
            r"|repository does not exist|not found: manifest|failed to resolve reference.*not found",
            re.I,
        ),
        "image_missing",
        "There is no such image: {image}.",
        "Correct the image's name or tag.",
    ),
    _Known(
        re.compile(
            r"no such host|i/o timeout|TLS handshake timeout|network is unreachable|connection refused"
            r"|connection reset|server misbehaving|proxyconnect|context deadline exceeded|unexpected EOF|x509:",
            re.I,
        ),
        "pull_failed",
        "The image {image} is not here, and could not be fetched: the registry is not reachable.",
        "Check the network or the proxy of Docker, then start again: what was fetched is kept.",
    ),
    _Known(
        re.compile(r"toomanyrequests|rate limit|429", re.I),
        "pull_failed",
        "The registry gives this machine no more images for now.",
        "Wait for a while, or log in (docker login), then start again.",
    ),
)

_BY_VLLM = (
    _Known(
        re.compile(r"\[Errno 98\]|address already in use", re.I),
        "port_taken",
        "Another program had the port that vLLM wants.",
        "End that program, or set another port.",
    ),
    _Known(
        re.compile(
            r"GatedRepoError|gated repo|(?:401|403) Client Error|Access to model \S+ is restricted"
            r"|must (?:be authenticated|have access) to (?:access )?it",
            re.I,
        ),
        "gated_model",
        "The model's licence has to be accepted first, or the Hugging Face token may not read it.",
        "Accept it on the model's page at huggingface.co, store your token (HF_TOKEN), and start again.",
    ),
    _Known(
        re.compile(
            r"RepositoryNotFoundError|404 Client Error|is not a local folder and is not a valid model identifier"
            r"|Repo id must be|Repository Not Found|does not appear to have a file named",
            re.I,
        ),
        "model_not_found",
        "Hugging Face has no such model.",
        "Correct the model's name (owner/name), or store a token where it is private.",
    ),
    _Known(
        re.compile(r"\[Errno 28\]|No space left on device|not enough free disk space", re.I),
        "disk_full",
        "The disk filled up while the model was fetched.",
        "Free some space; what was fetched is kept.",
        ("docker system df",),
    ),
    _Known(
        re.compile(
            r"Quantization method specified in the model config \((\S+)\) does not match.*\((\S+)\)", re.I
        ),
        "wrong_quantization",
        lambda found: f"The model is quantised with {found[1]}, and {found[2]} is set.",
        lambda found: f"Set the quantisation to {found[1]}, or leave it empty: vLLM reads it from the model.",
    ),
    _Known(
        re.compile(
            r"Unknown quantization method|Cannot find the config file for \w+"
            r"|quantization method .* is not supported|is not supported for quantization|ValueError:.*quantiz",
            re.I,
        ),
        "wrong_quantization",
        "The quantisation that is set does not fit this model or this GPU.",
        "Leave it empty (vLLM reads it from the model), or take a model in a form that this GPU can compute.",
    ),
    _Known(
        re.compile(
            r"No available memory for the cache blocks|KV cache is needed, which is larger"
            r"|larger than the maximum number of tokens that can be stored in KV cache",
            re.I,
        ),
        "gpu_out_of_memory",
        "The weights fit, but too little memory is left for the KV cache.",
        _longest,
    ),
    _Known(
        re.compile(r"Free memory on device .*?\(([\d.]+)/([\d.]+) GiB\)", re.I),
        "gpu_out_of_memory",
        lambda found: f"Only {found[1]} of the GPU's {found[2]} GiB are free, less than vLLM's share.",
        "End what else uses the GPU, or give vLLM a smaller share of its memory.",
        ("nvidia-smi",),
    ),
    _Known(
        re.compile(r"OutOfMemoryError|CUDA out of memory|HIP out of memory|CUBLAS_STATUS_ALLOC_FAILED", re.I),
        "gpu_out_of_memory",
        "The GPU's memory is too small for this model with these settings.",
        "Take a smaller or quantised model, shorter requests (longest request), or more GPUs.",
    ),
    _Known(
        re.compile(
            r"Found no NVIDIA driver|CUDA driver version is insufficient|No CUDA GPUs are available"
            r"|Failed to infer device type|libcuda\.so\.1: cannot open",
            re.I,
        ),
        "no_nvidia_toolkit",
        "vLLM finds no usable GPU inside the container.",
        "See whether nvidia-smi works on that machine, and in a container.",
        ("docker run --rm --gpus all ubuntu nvidia-smi",),
    ),
    _Known(
        re.compile(
            r"Available memory on node \d+ \(([\d.]+)/([\d.]+) GiB\) on kv cache allocation is less than requested"
            r" memory for kv \(([\d.]+) GiB\)"
        ),
        "host_out_of_memory",
        lambda found: (
            f"The KV cache wants {found[3]} GiB of memory, and of {found[2]} GiB only {found[1]} are free."
        ),
        "Close other programs, raise the container's memory limit, or lower VLLM_CPU_KVCACHE_SPACE.",
    ),
    _Known(
        re.compile(
            r"MemoryError|Cannot allocate memory|std::bad_alloc|DefaultCPUAllocator: can't allocate", re.I
        ),
        "host_out_of_memory",
        "The machine's memory is too small to load this model.",
        "Close other programs, or take a smaller model.",
    ),
    _Known(
        re.compile(
            r"error: (unrecognized arguments: .+|argument .+|the following arguments are required: .+"
            r"|ambiguous option: .+)"
        ),
        "bad_settings",
        lambda found: f"vLLM does not take these settings: {found[1].rstrip('.')}.",
        "Correct the extra arguments; vLLM renames some between releases.",
    ),
    _Known(
        re.compile(
            r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len"
            r" \(\w+=(\d+)(?:\.\d+)?\b"
        ),
        "length_too_large",
        lambda found: (
            f"The longest request is set to {int(found[1]):,} tokens; the model takes {int(found[2]):,}."
        ),
        lambda found: f"Set the longest request to {int(found[2]):,} or less.",
    ),
    _Known(
        re.compile(
            r"CppCompileError|Failed to find C compiler|InvalidCxxCompiler|No working C\+\+ compiler"
            r"|BackendCompilerFailed|InductorError"
        ),
        "not_compiled",
        "vLLM could not compile the model: its compiler failed, or is not in the image.",
        "Add --enforce-eager to the extra arguments: slower, and nothing is compiled.",
    ),
    _Known(
        re.compile(r"^\s*Value error, (.{1,200}?)(?:\. | \[type=|$)"),
        "bad_settings",
        lambda found: f"vLLM refuses a setting: {found[1].rstrip('.')}.",
        "Correct it in the settings, and start again.",
    ),
    _Known(
        re.compile(r"(?:pydantic_core\.\S+ValidationError|validation errors? for (\w+))"),
        "bad_settings",
        "vLLM refuses a setting.",
        "Its last lines say which one; correct it and start again.",
    ),
)
_DIED = re.compile(
    r"EngineDeadError|EngineCore encountered an issue|Engine core process .* died|died with exit code"
)
_RAISED = re.compile(r"(?:^|\] |\) )((?:[\w.]+\.)?\w*(?:Error|Exception): .+)$")
_OF_A_WORKER = re.compile(r"^RuntimeError: Worker failed with error '(.+?)(?:', please check .*)?$")
_LAST = re.compile(r"See root cause above|EngineDeadError|Failed core proc")


def explain_command(
    words: str, *, image: str, port: int | None = None, taken_by: str = "", log: Sequence[str] = ()
) -> ServerFailure:
    """Return why Docker or Compose could not pull, create or start it; ``words`` are its own."""
    known = _find(_BY_THE_ENGINE, [words])
    said = redact(words).strip().removeprefix("Error response from daemon: ")
    if known is None:
        return ServerFailure(
            kind="exited", what=sentence(said), fix="Fix that, then start again.", log=_tail(log)
        )
    what = known.what.replace("{image}", image)
    if known.kind == "port_taken" and port is not None:
        what = f"Port {port} was taken by {taken_by or 'another program'}."
    return replace(known, what=what, log=_tail([*log, *said.splitlines()]))


def explain_end(
    lines: Sequence[str], *, exit_code: int | None, oom_killed: bool, was_ready: bool, error: str = ""
) -> ServerFailure:
    """Return why the container ended, by its exit code, the kernel's OOM killer and its log's last ``lines``."""
    when = "" if was_ready else " while it loaded the model"
    log = _tail(lines)
    if oom_killed:
        return ServerFailure(
            kind="host_out_of_memory",
            what=f"The system ended it{when}: the machine's memory, or the container's share of it, was used up.",
            fix="Close other programs, raise the container's memory limit, or take a smaller model.",
            log=log,
            exit_code=exit_code,
            oom_killed=True,
        )
    known = _find(_BY_VLLM, lines) or (_find(_BY_THE_ENGINE, [error]) if error else None)
    if known is not None and exit_code != KILLED_EXIT:
        return replace(known, log=log, exit_code=exit_code)
    if exit_code == KILLED_EXIT:
        return ServerFailure(
            kind="killed",
            what=f"It was killed{when} (exit code 137), by somebody or by the system.",
            fix="Start it again; if it happens again, look for what kills it.",
            log=log,
            exit_code=exit_code,
        )
    if any(_DIED.search(line) for line in lines):
        return ServerFailure(
            kind="exited",
            what=f"vLLM's engine died{when}, and the container ended (exit code {exit_code}).{_cause(lines)}",
            fix="Start it again; its last lines say more.",
            log=log,
            exit_code=exit_code,
        )
    return ServerFailure(
        kind="exited",
        what=f"It ended by itself{when}: {_exit_words(exit_code)}.{_cause(lines) or _of_the_engine(error)}",
        fix="Its last lines say more. Start it again once that is fixed.",
        log=log,
        exit_code=exit_code,
    )


def _exit_words(exit_code: int | None) -> str:
    if exit_code is None:
        return "nobody knows how"
    if exit_code > 128:
        try:
            return f"exit code {exit_code} ({signal.Signals(exit_code - 128).name})"
        except ValueError:
            pass
    return f"exit code {exit_code}"


def _cause(lines: Sequence[str]) -> str:
    """Return the last error that vLLM's Python raised, as a further sentence."""
    for line in reversed(lines):
        found = _RAISED.search(line)
        if found and not _LAST.search(line):
            said = _OF_A_WORKER.sub(r"\1", found[1])
            return f" {sentence(redact(said)[:300])}"
    return ""


def _of_the_engine(error: str) -> str:
    return f" {sentence(redact(error)[:300])}" if error else ""


_SERVES = re.compile(r'Application startup complete|"(?:GET|POST) /\S* HTTP/')


def has_served(lines: Iterable[str]) -> bool:
    """Whether the log says that it was ready once."""
    return any(_SERVES.search(line) for line in lines)


def died_of_itself(lines: Iterable[str]) -> bool:
    """Whether the log ends with the death of vLLM's engine, after which the container exits with code 0."""
    return any(_DIED.search(line) for line in lines)


def _find(known: Sequence[_Known], lines: Sequence[str]) -> ServerFailure | None:
    for each in known:
        for line in lines:
            if found := each.pattern.search(line):
                what = each.what if isinstance(each.what, str) else each.what(found)
                fix = each.fix if isinstance(each.fix, str) else each.fix(found)
                return ServerFailure(
                    kind=each.kind, what=redact(what), fix=redact(fix), commands=each.commands
                )
    return None


def _tail(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(redact_lines(list(lines)[-FAILURE_LINES:]))
