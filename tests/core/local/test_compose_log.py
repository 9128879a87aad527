"""What vLLM's log and Docker's words say: the progress of a start, and the reasons of its end."""

from __future__ import annotations

import json

import pytest

from core.local.compose_log import Progress, explain_command, explain_end, read_progress
from core.local.compose_output import ComposeOutput
from core.local.server import FailureKind


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        (
            "Loading safetensors checkpoint shards:  62% Completed | 5/8 [00:13<00:08,  2.87s/it]",
            Progress(step="load", detail="shard 5 of 8", progress=0.625),
        ),
        (
            "(Worker pid=50) INFO 12-01 [default_loader.py:501] Loading weights took 0.01 seconds",
            Progress(step="warm_up", detail="weights loaded"),
        ),
        (
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|####      | 14/35 [00:01<00:02]",
            Progress(step="warm_up", detail="capturing CUDA graphs", progress=0.4),
        ),
        (
            "INFO 12-01 [weight_utils.py:533] Time spent downloading weights for tiny: 83.250000 seconds",
            Progress(step="load", detail="weights downloaded", download_s=83.25),
        ),
        ('INFO:     127.0.0.1:3 - "POST /v1/chat/completions HTTP/1.1" 200 OK', None),
        ("INFO 12-01 [loggers.py:248] Engine 000: Avg prompt throughput: 0.0 tokens/s", None),
    ],
)
def test_progress(line: str, progress: Progress | None) -> None:
    assert read_progress(line) == progress


KV_CACHE = (
    "(EngineCore pid=31) ERROR 12-01 [core.py:1510] ValueError: To serve at least one request with the model's max "
    "seq len (131072), (4.11 GiB KV cache is needed, which is larger than the available KV cache memory (4.0 GiB). "
    "Based on the available memory, the estimated maximum model length is 127776."
)


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ("ValueError: No available memory for the cache blocks. Try", "gpu_out_of_memory", "KV cache"),
        (KV_CACHE, "gpu_out_of_memory", "127,776"),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            "gpu_out_of_memory",
            "smaller",
        ),
        (
            "ValueError: Free memory on device cuda:0 (3.1/22.04 GiB) on startup is less than desired GPU memory",
            "gpu_out_of_memory",
            "3.1",
        ),
        (
            "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access",
            "gated_model",
            "HF_TOKEN",
        ),
        ("OSError: You are trying to access a gated repo.", "gated_model", "licence"),
        (
            "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.",
            "model_not_found",
            "no such model",
        ),
        ("OSError: [Errno 28] No space left on device", "disk_full", "kept"),
        (
            "ValueError: Quantization method specified in the model config (awq) does not match the quantization "
            "method specified in the `quantization` argument (gptq).",
            "wrong_quantization",
            "awq",
        ),
        ("ValueError: Unknown quantization method: q9.", "wrong_quantization", "quantisation"),
        (
            "api_server.py: error: unrecognized arguments: --max-modellen 5",
            "bad_settings",
            "--max-modellen 5",
        ),
        (
            "OSError: [Errno 98] error while attempting to bind on address: address already in use",
            "port_taken",
            "port",
        ),
        (
            "  Value error, User-specified max_model_len (8192) is greater than the derived max_model_len "
            "(max_position_embeddings=2048.0 or model_max_length=None in model's config.json). To allow",
            "length_too_large",
            "2,048 or less",
        ),
        (
            "(Worker pid=52) ERROR 12-01 17:08:40 [multiproc_executor.py:1063] "
            "torch._inductor.exc.InductorError: CppCompileError: C++ compile error",
            "not_compiled",
            "--enforce-eager",
        ),
        (
            "  Value error, Tensor parallel size (3) is odd. [type=value_error, input_value=ArgsKwargs",
            "bad_settings",
            "refuses a setting: Tensor parallel size (3) is odd.",
        ),
        ("RuntimeError: Found no NVIDIA driver on your system.", "no_nvidia_toolkit", "GPU"),
        (
            "RuntimeError: Worker failed with error 'Available memory on node 0 (0.8/2.0 GiB) on kv cache "
            "allocation is less than requested memory for kv (1.0 GiB). Decrease --kv-cache-memory-bytes, "
            "VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes.', please check the stack trace",
            "host_out_of_memory",
            "wants 1.0 GiB of memory, and of 2.0 GiB only 0.8 are free",
        ),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "host_out_of_memory", "memory"),
    ],
)
def test_reasons_in_the_log(line: str, kind: FailureKind, says: str) -> None:
    lines = [f"INFO line {number}" for number in range(100)] + [line]
    failure = explain_end(lines, exit_code=1, oom_killed=False, was_ready=False)
    assert failure.kind == kind
    assert says in f"{failure.what} {failure.fix}"
    assert len(failure.log) == 50
    assert failure.log[-1] == line


def test_ends_without_a_reason_in_the_log() -> None:
    def end(exit_code: int, *lines: str, oom: bool = False) -> tuple[str, str]:
        failure = explain_end(lines, exit_code=exit_code, oom_killed=oom, was_ready=True)
        return failure.kind, failure.what

    assert end(137)[0] == "killed"
    assert end(137, "CUDA out of memory")[0] == "killed"
    assert end(137, oom=True)[0] == "host_out_of_memory"
    kind, what = end(0, "ERROR EngineDeadError: EngineCore encountered an issue.")
    assert (kind, "engine died" in what) == ("exited", True)
    failure = explain_end([], exit_code=127, oom_killed=False, was_ready=True, error="exec: /x: not found")
    assert failure.what == "It ended by itself: exit code 127. exec: /x: not found."
    assert end(139)[1] == "It ended by itself: exit code 139 (SIGSEGV)."
    said = end(1, "(EngineCore) ERROR [core.py:1] ValueError: no such head size: 7", "See root cause above")
    assert said[1].endswith("ValueError: no such head size: 7.")
    told = "(EngineCore) ERROR [core.py:1] RuntimeError: Worker failed with error 'No such kernel', please check it"
    assert end(1, told)[1] == "It ended by itself: exit code 1. No such kernel."


def test_a_token_in_the_log_is_hidden() -> None:
    failure = explain_end(["HF_TOKEN=hf_plantedplanted"], exit_code=1, oom_killed=False, was_ready=False)
    assert failure.log == ("HF_TOKEN=•••",)


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "no_nvidia_toolkit", "Toolkit"),
        ("driver failed: Bind for 127.0.0.1:8000 failed: port is already allocated",
         "port_taken", "Port 8000 was taken by python3 (process 7)"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk_full", "disk"),
        ("manifest for vllm/vllm-openai:v9 not found: manifest unknown", "image_missing", "vllm/vllm-openai:v9"),
        ('Get "https://registry.example/v2/": lookup registry.example: no such host', "pull_failed", "network"),
        ("toomanyrequests: You have reached your pull rate limit.", "pull_failed", "log in"),
        ("something new", "exited", "something new"),
    ],
)  # fmt: skip
def test_docker_could_not(words: str, kind: FailureKind, says: str) -> None:
    failure = explain_command(
        f"Error response from daemon: {words}",
        image="vllm/vllm-openai:v9",
        port=8000,
        taken_by="python3 (process 7)",
    )
    assert failure.kind == kind
    assert says in f"{failure.what} {failure.fix}"


def test_a_pull_in_json_as_compose_2_40_tells_it() -> None:
    output = ComposeOutput()

    def told(**event: object) -> None:
        output.feed(json.dumps(event))

    told(id="vllm", text="Pulling")
    for layer in ("1a710f5f233c", "714ab01d2333", "b1cb991083dd"):
        told(id=layer, parent_id="vllm", text="Pulling fs layer")
    told(id="b1cb991083dd", parent_id="vllm", text="Already exists")
    told(id="1a710f5f233c", parent_id="vllm", text="Downloading", current=1_000_000, total=3_000_000)
    step = output.pull_step(10.0, 1.0)
    assert (step.done_bytes, step.total_bytes, step.progress) == (1_000_000, None, pytest.approx(1 / 6))
    told(id="714ab01d2333", parent_id="vllm", text="Downloading", current=2_000_000, total=9_000_000)
    told(id="1a710f5f233c", parent_id="vllm", text="Download complete", percent=100)
    step = output.pull_step(12.0, 3.0)
    assert (step.done_bytes, step.total_bytes, step.detail) == (5_000_000, 12_000_000, "layer 3 of 3")
    assert step.bytes_per_s == 2_000_000
    assert output.error == ""
    output.feed('{"error":true,"message":"Error response from daemon: no such host"}')
    assert output.error == "Error response from daemon: no such host"


def test_a_pull_as_an_older_compose_tells_it() -> None:
    output = ComposeOutput()
    for line in (
        " vllm Pulling ",
        " 1a710f5f233c Pulling fs layer ",
        " 1a710f5f233c Downloading [=======>        ]  432.8kB/3.001MB",
        "unknown words",
    ):
        output.feed(line)
    step = output.pull_step(1.0, 1.0)
    assert (step.done_bytes, step.total_bytes, step.detail) == (432_800, 3_001_000, "layer 1 of 1")
    assert "unknown words" in output.error
