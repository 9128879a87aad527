"""What a process of ours is given, and what of a stranger's folder may run: nothing."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.base.child_process import child_environment, program, python_command
from core.local.docker_cli import DOCKER_PREFIXES, DOCKER_VARIABLES
from core.local.embedded import COMPUTING_PREFIXES
from core.structured.schema import check_value

ROOT = Path(__file__).parents[3]
SECRET = "planted7XA"
SECRETS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "DATABASE_URL",
    "DOCKER_AUTH_CONFIG",
    "GITHUB_PAT",
    "HF_TOKEN",
    "KMP_API_KEY",
    "LEDGER_URL",
    "LLAMA_API_KEY",
    "NVIDIA_API_KEY",
    "OPENAI_API_KEY",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "PGPASSWORD",
    "PYTHONPATH",
    "VLLM_API_KEY",
)
TOUCH = "#!/bin/sh\nexport -p >> '{}'\n"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, SECRET)


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o700)
    return path


def stranger(folder: Path, proof: Path) -> Path:
    """A folder in which everything that could be taken for a module or a program leaves ``proof`` when it runs."""
    folder.mkdir()
    code = f"open({str(proof)!r}, 'a').write(__name__ + chr(10))\n"
    modules = "json decimal argparse asyncio sqlite3 keyring openai anthropic pydantic xllamacpp resource"
    for name in modules.split():
        (folder / f"{name}.py").write_text(code)
    (folder / "core").mkdir()
    (folder / "core" / "__init__.py").write_text(code)
    for name in ("docker", "gcc", "cc", "ld", "uname", "ps", "ldconfig", "git"):
        executable(folder / name, f"#!/bin/sh\necho {name} >> '{proof}'\n")
    return folder


@pytest.mark.parametrize("names", [(), DOCKER_VARIABLES])
@pytest.mark.parametrize("prefixes", [(), COMPUTING_PREFIXES, DOCKER_PREFIXES])
def test_no_secret_goes_to_a_child(names: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    assert SECRET not in str(child_environment(names, prefixes=prefixes))


def test_a_child_gets_what_it_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("LC_TIME", "C")
    environment = child_environment(prefixes=("CUDA_",), extra={"LC_ALL": "C"})
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert (environment["LC_TIME"], environment["LC_ALL"]) == ("C", "C")
    assert "CUDA_VISIBLE_DEVICES" not in child_environment()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's paths")
def test_only_absolute_folders_are_searched_by_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ".:/usr/bin::bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib:")
    environment = child_environment()
    assert (environment["PATH"], environment["LD_LIBRARY_PATH"]) == ("/usr/bin", "/opt/lib")
    monkeypatch.setenv("LD_LIBRARY_PATH", ":")
    assert "LD_LIBRARY_PATH" not in child_environment()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's paths")
@pytest.mark.parametrize("path", [".", "", "./bin", ".:bin:"])
def test_a_program_of_the_working_folder_is_none(
    path: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "bin").mkdir()
    for folder in (home, home / "bin"):
        executable(folder / "docker", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", path)
    assert program("docker") is None
    monkeypatch.setenv("PATH", f"{path}:{home / 'bin'}")
    assert program("docker") == str(home / "bin" / "docker")


def test_a_python_of_ours_searches_no_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = tmp_path / "proof"
    monkeypatch.chdir(stranger(tmp_path / "stranger", proof))
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "stranger"), *sys.path])
    done = subprocess.run(
        python_command("core.structured.schema"),
        input=json.dumps({"value": 1, "schema": {"type": "string"}}),
        env=child_environment(),
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["problems"], done.stderr
    assert not proof.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_schema_that_is_checked_elsewhere_is_checked_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real child, stood in for by a program that tells its environment and passes the question on."""
    told = tmp_path / "told"
    real = sys.executable
    fake = executable(tmp_path / "python", f"#!/bin/sh\nexport -p > '{told}'\nexec '{real}' \"$@\"\n")
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.chdir(stranger(tmp_path / "stranger", tmp_path / "proof"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "stranger"), *sys.path])
    found = check_value("a" * 3000 + "!", {"type": "string", "pattern": r"^(?=a)(a|aa)+$"})
    assert "PATH" in told.read_text()
    assert SECRET not in told.read_text()
    assert not found.unchecked or "patterns take too long" in found.problems[0]
    assert not (tmp_path / "proof").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script as docker")
async def test_docker_is_asked_without_secrets_and_never_the_working_folders(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import RouterCore
    from core.doctor import checks

    told, proof = tmp_path / "told", tmp_path / "proof"
    (tmp_path / "bin").mkdir()
    executable(tmp_path / "bin" / "docker", f"#!/bin/sh\nexport -p > '{told}'\necho \"$@\" >> '{told}'\n")
    monkeypatch.chdir(stranger(tmp_path / "stranger", proof))
    monkeypatch.setenv("PATH", f".:{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    async with RouterCore() as core:
        await checks._docker(core)  # pyright: ignore[reportPrivateUsage]
    assert "--context mine" in told.read_text()
    assert SECRET not in told.read_text()
    assert not proof.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's paths")
@pytest.mark.parametrize("command", ["report", "doctor"])
async def test_nothing_of_the_folder_it_is_started_in_runs(command: str, home: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    folder = stranger(tmp_path / "stranger", proof)
    environment = {
        **child_environment(),
        "PATH": f".:{os.environ['PATH']}:",
        "SIGNALBOX_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "LOCAL_SERVER": "none",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    }
    asked = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gui",
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await asked.communicate()
    assert b"Traceback" not in output, output.decode()
    assert output
    assert not proof.exists(), proof.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="needs shell scripts as programs")
def test_libraries_start_no_programs_either(home: Path, tmp_path: Path) -> None:
    """keyring asked gcc and ld for macOS's frameworks, OpenAI's SDK uname: each with all of our environment."""
    told, folder = tmp_path / "told", tmp_path / "bin"
    folder.mkdir()
    for name in ("gcc", "cc", "ld", "uname", "objdump"):
        executable(folder / name, TOUCH.format(told))
    environment = {**os.environ, "PATH": str(folder), "SIGNALBOX_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHON_KEYRING_BACKEND", None)
    use = (
        "import asyncio; from core.keys import KeyStore; asyncio.run(KeyStore().read('anthropic'))\n"
        "from core.providers.openai import VLLMProvider\n"
        "VLLMProvider('http://127.0.0.1:9/v1', 'm')._make_client().platform_headers()"
    )
    done = subprocess.run([sys.executable, "-c", use], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not told.exists(), told.read_text()


def test_every_child_gets_an_environment_from_here() -> None:
    """Whoever starts a process says what it is given: what is not said would be everything."""
    starters = {
        "run",
        "Popen",
        "check_output",
        "check_call",
        "call",
        "create_subprocess_exec",
        "system",
        "popen",
    }
    found: list[str] = []
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "gui").rglob("*.py")]:
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            # Qt's own starts with everything, too, unless it is given an environment.
            is_bare = "child_environment()" not in source or ".setProcessEnvironment(" not in source
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "QProcess" and is_bare:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of = node.func.value
            module = of.id if isinstance(of, ast.Name) else ""
            if module in ("subprocess", "asyncio", "os") and node.func.attr in starters:
                if (module, node.func.attr) == ("asyncio", "run"):
                    continue
                given = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "env"]
                if not any("child_environment(" in text for text in given):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            detached = module == "QProcess" and node.func.attr in ("startDetached", "execute", "startCommand")
            if detached or module == "multiprocessing":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
