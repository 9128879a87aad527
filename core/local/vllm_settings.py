"""The settings of the vLLM container that users change, and the override file in which they are kept."""

from __future__ import annotations

from dataclasses import dataclass


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
    the compose file's own included.
    """

    faults: tuple[SettingFault, ...]
    diff: str
    effective: VllmSettings
    restart_needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerContext:
    """A place that Docker reaches: ``name``, its ``endpoint`` and what that is (``local engine``, ``over SSH``,
    ``Podman``). ``current`` is the one the docker CLI would use; ``chosen`` the one Signalbox uses."""

    name: str
    endpoint: str
    words: str
    current: bool = False
    chosen: bool = False
