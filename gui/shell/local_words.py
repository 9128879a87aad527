"""What the header's pill says of the local server, and what the rail's lamp says of the machine, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gui.shell.pages import PageLamp
from gui.shell.pill import Tone
from gui.widgets.formatting import time_left
from gui.widgets.marks import LampState

if TYPE_CHECKING:
    from core import Alert, MachineSample, ServerState

_REASONS = {
    "docker_missing": "Docker missing",
    "daemon_down": "Docker down",
    "compose_missing": "no compose v2",
    "compose_file": "compose file",
    "image_missing": "no image",
    "pull_failed": "pull failed",
    "port_taken": "port taken",
    "no_nvidia_toolkit": "no NVIDIA toolkit",
    "gpu_out_of_memory": "out of GPU memory",
    "host_out_of_memory": "out of memory",
    "gated_model": "token needed",
    "model_not_found": "no such model",
    "disk_full": "disk full",
    "wrong_quantization": "wrong precision",
    "length_too_large": "length too large",
    "not_compiled": "not compiled",
    "bad_settings": "bad setting",
    "killed": "killed",
    "unhealthy": "not answering",
    "timed_out": "took too long",
    "exited": "ended",
}
_ALERTS = {
    "vram": "VRAM full",
    "temperature": "hot",
    "throttling": "throttling",
    "gpu_lost": "GPU lost",
    "unhealthy": "unhealthy",
    "kv_cache": "KV cache full",
    "queue": "queue grows",
    "server_failed": "failed",
}


def local_words(
    state: ServerState,
    *,
    alerts: Sequence[Alert] = (),
    sample: MachineSample | None = None,
    drained: bool = False,
    left: int = 0,
) -> tuple[LampState, str, str, Tone]:
    """Return lamp, state word, detail and border of the Local pill.

    ``left`` are the requests that still run. Where more than one thing is to be said, what somebody has to see to
    comes first.
    """
    if state.kind == "none":
        return "stopped", "Off", "no local server", ""
    if state.phase == "ready":
        pressing = _pressing_beside(state, alerts)
        if pressing:
            return "alert", "Ready, alert", alert_words(pressing[0], sample), "held"
        if drained:
            return "alert", "Ready, bypassed", "requests go to the API", "held"
        return "ready", "Ready", state.model or state.detail, ""
    if state.phase == "starting":
        done = "" if state.progress is None else f", {state.progress * 100:.0f} %"
        doing = state.detail if state.eta_s is None else time_left(state.eta_s)
        return "busy", f"Starting{done}", doing, ""
    if state.phase == "stopping":
        requests = f"{left} request{'s'[: left != 1]} left" if left else ""
        return "busy", "Stopping", state.detail or requests, ""
    if state.phase == "failed":
        words = {"key": "Key refused", "model": "No model"}
        return "failed", words.get(state.cause, "Failed"), failure_words(state), "danger"
    return "stopped", "Stopped", state.detail, ""


def failure_words(state: ServerState) -> str:
    """Return why it failed in two or three words, where it is known that well."""
    if state.failure is None:
        return state.detail
    return _REASONS.get(state.failure.kind, state.failure.what)


def pressing_alerts(alerts: Sequence[Alert]) -> list[Alert]:
    """Return the alerts that somebody has to see: not over, not acknowledged, not snoozed. Newest first."""
    return [one for one in alerts if one.is_open]


def _pressing_beside(state: ServerState, alerts: Sequence[Alert]) -> list[Alert]:
    """Leave out that it failed where it is well by now: the alert of that ends a few seconds later."""
    over = ("server_failed", "unhealthy") if state.phase == "ready" else ()
    return [one for one in pressing_alerts(alerts) if one.kind not in over]


def alert_words(alert: Alert, sample: MachineSample | None) -> str:
    """Return ``VRAM 91 %`` where the figure is known, else the matter in two words."""
    gpus = () if sample is None else sample.gpus
    gpu = next((one for one in gpus if alert.gpu in (None, one.index)), None)
    if gpu is not None and alert.kind == "vram" and gpu.vram_used_bytes is not None and gpu.vram_total_bytes:
        return f"VRAM {gpu.vram_used_bytes / gpu.vram_total_bytes * 100:.0f} %"
    if gpu is not None and alert.kind == "temperature" and gpu.temperature_c is not None:
        return f"{gpu.temperature_c:.0f} °C"
    percent = None if sample is None else sample.server.kv_cache_percent
    if alert.kind == "kv_cache" and percent is not None:
        return f"KV cache {percent:.0f} %"
    return _ALERTS.get(alert.kind, alert.title)


def machine_lamp(state: ServerState | None, alerts: Sequence[Alert]) -> PageLamp | None:
    """Return the lamp at the Machine page's icon, ``None`` where nothing needs anybody."""
    if state is not None and state.phase == "failed":
        why = failure_words(state)
        return PageLamp("failed", f"The local server failed: {why}" if why else "The local server failed")
    pressing = pressing_alerts(alerts) if state is None else _pressing_beside(state, alerts)
    if not pressing:
        return None
    more = f", and {len(pressing) - 1} more" if len(pressing) > 1 else ""
    return PageLamp("alert", f"Alert: {pressing[0].title}{more}")
