"""Models on disk: where each program keeps them, in parts, and never what is not wholly there."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from core.errors import InvalidRequest, ModelNotFound
from core.local import curated
from core.local.hub_names import HubFile, choose_for_vllm, choose_gguf, read_name
from core.local.model_files import find_models, hub_cache

MODEL = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0).ljust(32, b"\0")
EMBEDDING = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + b"".join(
    struct.pack("<Q", len(text)) + text + rest
    for text, rest in ((b"general.architecture", struct.pack("<I", 8)), (b"bert", b"\0" * 32))
)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "HF_HOME",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "LLAMA_CACHE",
        "LMSTUDIO_HOME",
        "JAN_DATA_FOLDER",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("core.local.model_files.packaged_model_path", lambda: None)
    return tmp_path


def put(path: Path, content: bytes = MODEL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(user: Path) -> dict[str, str]:
    return {model.name: model.place for model in find_models(user / "home")}


def test_each_programs_folder_is_looked_through(user: Path) -> None:
    put(user / ".lmstudio/models/me/repo/One-Q4_K_M.gguf")
    (user / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(user / "big disk")}))
    put(user / "big disk/Two-Q8_0.gguf")
    put(user / ".local/share/Jan/data/llamacpp/models/Three-3B/model.gguf")
    put(user / ".cache/llama.cpp/Four-F16.gguf")
    put(user / "home/models/Five.gguf")
    assert found(user) == {
        "One": "lm_studio",
        "Two": "lm_studio",
        "Three-3B": "jan",
        "Four": "llama_cpp",
        "Five": "signalbox",
    }


def test_variables_move_the_folders(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(user / "a"))
    monkeypatch.setenv("LMSTUDIO_HOME", str(user / "b"))
    monkeypatch.setenv("HF_HOME", str(user / "c"))
    put(user / "a/One.gguf")
    put(user / "b/models/Two.gguf")
    put(user / "c/hub/models--x--y/snapshots/abc/Three.gguf")
    assert found(user) == {"One": "llama_cpp", "Two": "lm_studio", "Three": "huggingface"}
    assert hub_cache() == user / "c/hub"


def test_what_is_no_model_or_not_whole_is_not_listed(user: Path) -> None:
    folder = user / ".cache/llama.cpp"
    put(folder / "Whole-Q4_K_M.gguf")
    put(folder / "Half-Q4_K_M.gguf", struct.pack("<4sIQQ", b"GGUF", 3, 5, 9))
    put(folder / "Loading-Q4_K_M.gguf.incomplete")
    put(folder / "Loading.gguf.part")
    put(folder / "mmproj-Whole-F16.gguf")
    put(folder / "ggml-vocab-llama.gguf")
    put(folder / "Page.gguf", b"<html>")
    put(folder / "Embedding.gguf", EMBEDDING)
    (folder / "Gone.gguf").symlink_to(folder / "nothing")
    (folder / "around").symlink_to(folder)
    (folder / "Linked.gguf").symlink_to(folder / "Whole-Q4_K_M.gguf")
    assert len(found(user)) == 1, "the link and the file it leads to are one"


def test_a_model_in_parts_is_one_and_only_with_all_of_them(user: Path) -> None:
    folder = user / ".cache/llama.cpp"
    for number in (1, 2, 3):
        put(folder / f"Big-Q4_K_M-0000{number}-of-00003.gguf")
    put(folder / "Torn-Q4_K_M-00001-of-00002.gguf")
    (model,) = find_models(user / "home")
    assert (model.name, model.size_bytes) == ("Big", 3 * len(MODEL))
    assert model.path.name == "Big-Q4_K_M-00001-of-00003.gguf"


def test_a_repository_is_listed_once_all_its_weights_are_there(user: Path) -> None:
    snapshot = hub_cache() / "models--acme--whole/snapshots/abc"
    put(snapshot / "config.json", b"{}")
    put(snapshot / "model-00001-of-00002.safetensors", b"x" * 10)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    put(snapshot / "model.safetensors.index.json", json.dumps(index).encode())
    assert found(user) == {}
    put(snapshot / "model-00002-of-00002.safetensors", b"x" * 10)
    (model,) = find_models(user / "home")
    assert (model.name, model.format, model.size_bytes, model.deletable) == (
        "acme/whole",
        "safetensors",
        20,
        True,
    )


@pytest.mark.parametrize(
    ("memory_gb", "best"),
    [(2, None), (4, "qwen2.5-1.5b"), (6, "smollm3-3b"), (8, "qwen3-4b"), (64, "qwen3-4b")],
)
def test_the_best_model_fits_the_machine(memory_gb: int, best: str | None) -> None:
    marked = [model.id for model in curated.curated_models(memory_gb * 10**9) if model.best]
    assert marked == ([best] if best else [])


def test_a_gpu_makes_a_larger_model_the_best() -> None:
    (best,) = [model.id for model in curated.curated_models(16 * 10**9, 24 * 10**9) if model.best]
    assert best == "qwen3-8b"


def test_the_table_is_of_small_models_with_all_that_is_shown() -> None:
    models = curated.curated_models(None)
    assert 8 <= len(models) <= 20
    assert len({model.id for model in models}) == len(models)
    for model in models:
        assert 10**9 <= model.parameters <= 8.5 * 10**9
        assert model.size_bytes < model.needs_bytes
        assert model.licence
        assert model.good_for
        assert read_name(model.id).file == model.file


@pytest.mark.parametrize(
    ("what", "repo", "file"),
    [
        ("Qwen/Qwen3-4B-GGUF", "Qwen/Qwen3-4B-GGUF", ""),
        (" Qwen/Qwen3-4B-GGUF:Q4_K_M ", "Qwen/Qwen3-4B-GGUF", "Q4_K_M"),
        ("hf.co/Qwen/Qwen3-4B-GGUF:Q8_0", "Qwen/Qwen3-4B-GGUF", "Q8_0"),
        ("https://huggingface.co/Qwen/Qwen3-4B-GGUF", "Qwen/Qwen3-4B-GGUF", ""),
        ("https://huggingface.co/Qwen/Qwen3-4B-GGUF/tree/main", "Qwen/Qwen3-4B-GGUF", ""),
        ("https://huggingface.co/a/b/resolve/main/d/f.gguf?download=true", "a/b", "d/f.gguf"),
    ],
)
def test_names_and_addresses_of_the_hub(what: str, repo: str, file: str) -> None:
    wanted = read_name(what)
    assert (wanted.repo, wanted.file) == (repo, file)


@pytest.mark.parametrize(
    "what",
    [
        "",
        "gpt2",
        "../../etc",
        "a/b/c",
        "https://example.com/a/b",
        "https://huggingface.co/datasets/a/b",
        "a/..",
        "-/x",
    ],
)
def test_what_names_nothing_on_the_hub_is_refused(what: str) -> None:
    with pytest.raises(InvalidRequest):
        read_name(what)


def test_which_file_of_a_repository_is_meant() -> None:
    names = ("m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-IQ2_XS.gguf", "mmproj-m-F16.gguf", "README.md")
    files = [HubFile(name, 10) for name in names]
    assert [file.name for file in choose_gguf(files, read_name("a/b"))] == ["m-Q4_K_M.gguf"]
    assert [file.name for file in choose_gguf(files, read_name("a/b:q8_0"))] == ["m-Q8_0.gguf"]
    assert [file.name for file in choose_gguf(files, read_name("a/b:m-IQ2_XS.gguf"))] == ["m-IQ2_XS.gguf"]
    with pytest.raises(ModelNotFound, match="no Q5_0"):
        choose_gguf(files, read_name("a/b:Q5_0"))
    with pytest.raises(ModelNotFound, match="GGUF"):
        choose_gguf([HubFile("model.safetensors", 1)], read_name("a/b"))
    with pytest.raises(ModelNotFound, match="safetensors"):
        choose_for_vllm(files, "a/b")
    parts = [HubFile(f"big-Q4_K_M-0000{number}-of-00002.gguf", 1) for number in (2, 1)]
    assert choose_gguf(parts, read_name("a/b")) == parts[::-1]
    with pytest.raises(ModelNotFound, match="1 of the 2 parts"):
        choose_gguf(parts[:1], read_name("a/b"))
