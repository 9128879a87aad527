"""What the Machine page says of the local server: its state, its steps, and why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core import (
    STEP_DOING,
    PreflightCheck,
    PreflightReport,
    ServerFailure,
    ServerState,
    StartStep,
    counted,
    exact_duration,
    rough_duration,
    sentence,
    transfer_facts,
)
from core import sentence_case as with_capital
from gui.widgets.marks import LampState

LAMPS: dict[str, LampState] = {
    "stopped": "stopped",
    "starting": "busy",
    "ready": "ready",
    "stopping": "busy",
    "failed": "failed",
}
STEP_NAMES = {"pull": "Pull", "create": "Create", "load": "Load weights", "warm_up": "Warm up"}
_PLACES = {"embedded": "on this processor", "external": "a server you run", "compose": "in a container"}
_TITLES = {
    "docker_missing": "Docker is not installed",
    "daemon_down": "Docker's engine does not answer",
    "compose_missing": "Docker Compose v2 is missing",
    "compose_file": "The compose file can't be used",
    "image_missing": "The container's image is not here",
    "pull_failed": "The image could not be pulled",
    "port_taken": "The port was taken by another program",
    "no_nvidia_toolkit": "Docker can't reach the GPU",
    "gpu_out_of_memory": "The local server ran out of GPU memory",
    "host_out_of_memory": "The local server ran out of memory",
    "gated_model": "The model needs a Hugging Face token",
    "model_not_found": "The model was not found",
    "disk_full": "The disk was full",
    "wrong_quantization": "The model's precision does not match",
    "length_too_large": "The longest request is more than the model takes",
    "not_compiled": "The model could not be compiled",
    "bad_settings": "vLLM refuses a setting",
    "killed": "The local server was ended from outside",
    "unhealthy": "The local server runs but does not answer",
    "timed_out": "The local server took too long to start",
    "exited": "The local server ended",
}


def state_title(state: ServerState) -> str:
    """Return the state word and what is being done: ``Starting: loading weights, 62 %``."""
    if state.kind == "none":
        return "No local server"
    if state.phase == "starting":
        doing = running_words(state)
        done = "" if state.progress is None else f", {state.progress * 100:.0f} %"
        return f"Starting: {doing}{done}" if doing else f"Starting{done}"
    if state.phase == "stopping":
        return f"Stopping: {state.detail}" if state.detail else "Stopping"
    if state.phase == "failed":
        return {"key": "Key refused", "model": "No model"}.get(state.cause, "Failed")
    return with_capital(state.phase)


def running_words(state: ServerState) -> str:
    """Return what a start is doing now, may be empty."""
    if state.detail:
        return state.detail
    step = next((step for step in state.steps if step.status == "running"), None)
    return STEP_DOING[step.name] if step else ""


def shown_steps(state: ServerState) -> tuple[StartStep, ...]:
    """Return the steps of a start; a server that tells none has one, its load."""
    if state.steps or state.phase != "starting":
        return state.steps
    return (StartStep(name="load", status="running", progress=state.progress),)


def step_fact(step: StartStep) -> str:
    """Return the line under a step: bytes and speed of a pull, a short fact, or how long it took."""
    if step.status == "running" and step.done_bytes is not None:
        return " · ".join(transfer_facts(step.done_bytes, step.total_bytes, step.bytes_per_s or None))
    if step.status == "skipped":
        return step.detail or "not needed"
    if step.elapsed_s is not None:
        return exact_duration(step.elapsed_s)
    return step.detail


def step_words(steps: tuple[StartStep, ...], *, ready: bool) -> str:
    """Return the step line for who can't see it: ``Pull: done, already here. Load weights: running, 62 %.``"""
    said: list[str] = []
    for step in steps:
        facts = [step.status if step.status != "skipped" else "done"]
        if step.progress is not None and step.status == "running":
            facts.append(f"{step.progress * 100:.0f} %")
        fact = step_fact(step)
        if fact and step.status != "waiting":
            facts.append(fact)
        said.append(f"{STEP_NAMES[step.name]}: {', '.join(facts)}.")
    said.append("Ready: done." if ready else "Ready: waiting.")
    return " ".join(said)


def place_words(state: ServerState, place: str, context: str) -> tuple[str, str]:
    """Return what runs and where, and the part of it that is to stand out: the name of the Docker ``context``.

    ``place`` says what that is (``local engine``), empty where it is not known.
    """
    what = state.model or ""
    if state.kind == "compose":
        on = f"{what} on {state.version or 'vLLM'}" if what else state.version or "vLLM"
        if not context:
            return f"{on}, in a container.", ""
        of = f" ({place})" if place else ""
        return f"{on} · context {context}{of}.", context
    if state.kind == "none":
        return "Every prompt goes to the API. A model on this machine answers for nothing and in private.", ""
    where = state.version or _PLACES.get(state.kind, "")
    if not what:
        return f"{with_capital(where)}.", ""
    return (f"{what} on {where}." if state.version else f"{what}, {where}."), ""


def wait_words(state: ServerState, *, api_answers: bool) -> str:
    """Return how long a start is likely to take, and what becomes of requests meanwhile."""
    said: list[str] = []
    if state.eta_s is not None:
        left = "Any moment now" if round(state.eta_s) < 1 else f"About {exact_duration(state.eta_s)} left"
        if state.learnt_from:
            left += f", learnt from {counted(state.learnt_from, 'start')}"
        said.append(f"{left}.")
    said.append(
        "Requests go to the API until it is ready." if api_answers else "Requests wait until it is ready."
    )
    return " ".join(said)


def models_words(names: Sequence[str]) -> str:
    """Return ``5 models: a, b, c and 2 more``."""
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} models: {shown}{more}"


def deadline_words(elapsed_s: float | None, deadline_s: float | None) -> str:
    """Return ``1 min 50 s so far, given up after 60 min``; may be empty."""
    parts = [] if elapsed_s is None else [f"{exact_duration(elapsed_s)} so far"]
    if deadline_s is not None:
        parts.append(f"given up after {rough_duration(deadline_s)}")
    return ", ".join(parts)


def failure_title(state: ServerState) -> str:
    """Return what happened, in a few words."""
    if state.failure is not None:
        return _TITLES.get(state.failure.kind, "The local server failed")
    if state.cause == "key":
        return "The local server refuses the key"
    if state.cause == "model":
        return "The local server does not have the model"
    if state.kind == "external":
        return "The local server can't be used"
    return "The local server failed"


def failure_why(state: ServerState) -> str:
    """Return why, and how it ended where that says more."""
    failure = state.failure
    if failure is None:
        return sentence(with_capital(state.detail))
    return f"{sentence(failure.what)} {_ended(failure)}".strip()


_STILL_SO = frozenset(
    {"docker_missing", "daemon_down", "compose_missing", "compose_file", "unhealthy", "timed_out"}
)
"""Failures that are looked for all the time: they go when they are over."""
_CHECK_OF: dict[str, str] = {
    "docker_missing": "docker",
    "daemon_down": "daemon",
    "compose_missing": "compose",
    "compose_file": "compose",
    "no_nvidia_toolkit": "nvidia_toolkit",
    "port_taken": "port",
    "disk_full": "disk",
    "gated_model": "token",
    "image_missing": "image",
    "gpu_out_of_memory": "fit",
    "length_too_large": "fit",
    "wrong_quantization": "fit",
}


def check_of(state: ServerState | None, report: PreflightReport | None) -> PreflightCheck | None:
    """Return the pre-flight check that looks for what ``state`` failed of; ``None`` where none does."""
    if state is None or state.phase != "failed" or state.failure is None or report is None:
        return None
    name = _CHECK_OF.get(state.failure.kind)
    return next((check for check in report.checks if check.name == name), None)


def failure_when(state: ServerState, report: PreflightReport | None) -> str:
    """Return when a failure was that need not be so any more, and whether it is over by now; may be empty."""
    failure = state.failure
    if failure is None or failure.kind in _STILL_SO:
        return ""
    said: list[str] = []
    if failure.at is not None:
        at = failure.at.astimezone()
        day = "" if at.date() == datetime.now().astimezone().date() else f" on {at.day} {at:%B}"
        said.append(f"That was at {at:%H:%M}{day}.")
    if report is not None and (check := passed_since(state, report)) is not None:
        said.append(f"At {report.at.astimezone():%H:%M} the check of it says: {check.found}.")
    return " ".join(said)


def passed_since(state: ServerState, report: PreflightReport | None) -> PreflightCheck | None:
    """Return the check of what ``state`` failed of, where it has passed since."""
    check, failure = check_of(state, report), state.failure
    if check is None or report is None or failure is None or check.state != "ok":
        return None
    return check if failure.at is None or report.at > failure.at else None


def _ended(failure: ServerFailure) -> str:
    code = failure.exit_code
    if code is None or code < 0 or str(code) in failure.what:  # below zero: a signal, which is told as such
        return ""
    return f"It exited with code {code}."
