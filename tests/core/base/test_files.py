"""Files that are read and written safely: FIFOs, devices, links, sizes, encodings, and what stands aside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.files import (
    FileTooLarge,
    NotAFile,
    decode_text,
    locked,
    marked_encoding,
    open_regular_file,
    read_own_json,
    read_regular_file,
    set_aside,
    set_aside_files,
    write_whole,
)
from tests.support.odd_files import ODD_FILES, make_odd

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = make_odd(tmp_path / "odd", kind)
    with pytest.raises(NotAFile) as caught:
        read_regular_file(path, 100)
    assert caught.value.strerror
    with pytest.raises(OSError, match=r"not a file|No such device|directory|symbolic links"), locked(path):
        pass


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_file_is_never_written_over(home: Path, kind: str) -> None:
    path = make_odd(home / "odd", kind)
    before = path.lstat().st_ino, path.lstat().st_mode
    with pytest.raises(OSError, match="not a file"):
        write_whole(path, "new")
    assert (path.lstat().st_ino, path.lstat().st_mode) == before
    assert [entry.name for entry in home.iterdir()] == ["odd"]


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_regular_file(path, 10) == b"x" * 10
    with pytest.raises(FileTooLarge, match="larger than 9 bytes"):
        read_regular_file(path, 9)
    with pytest.raises(FileNotFoundError):
        open_regular_file(tmp_path / "none")


def test_a_link_of_our_own_is_followed_and_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.json", tmp_path / "settings.json"
    real.write_text("old")
    link.symlink_to(real)
    assert read_regular_file(link, 10) == b"old"
    write_whole(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_lock_is_never_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "content", [b"{", b"", b"7", b'{"a": null}', b"\xff\xfe", b"[" * 5000, b'{"a":"' + b"1" * 100]
)
def test_a_broken_file_of_our_own_is_set_aside(home: Path, content: bytes) -> None:
    def read(found: dict[str, str]) -> dict[str, int]:
        return {name: int(value) for name, value in found.items()}

    path = home / "own.json"
    assert read_own_json(path, 50, read) is None
    path.write_text('{"a": "1"}')
    assert read_own_json(path, 50, read) == {"a": 1}
    path.write_bytes(content)
    assert read_own_json(path, 50 if b"11" in content else 10_000, read) is None
    assert not path.exists()
    assert path.with_name("own.json.broken-1").read_bytes() == content


def test_what_stands_aside_is_found_in_order(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    assert set_aside_files(tmp_path / "none" / "prices.json") == set_aside_files(path) == ()
    for number in range(11):
        path.write_text(str(number))
        set_aside(path)
    (tmp_path / "prices.json.broken-x").touch()
    (tmp_path / "prices.json.broken-1.txt").touch()
    assert [aside.read_text() for aside in set_aside_files(path)] == [str(number) for number in range(11)]


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16 with a mark": lambda text: text.encode("utf-16"),
    "utf-16-be with a mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-32 with a mark": lambda text: text.encode("utf-32"),
    "utf-32-be with a mark": lambda text: b"\0\0\xfe\xff" + text.encode("utf-32-be"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"]), min_size=1))
def test_text_of_every_encoding_reads_the_same(encoding: str, text: str) -> None:
    assert decode_text(ENCODINGS[encoding](text)) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_by_its_letters(encoding: str) -> None:
    assert decode_text('{"prompt": "Größe, 大きさ"}'.encode(encoding)) == '{"prompt": "Größe, 大きさ"}'


NO_TEXT = (b"a\0b", b"\xff\xfea", b"\xff\xff", b"\x7fELF\0\0\0\0", "a\0b".encode("utf-16"))


@pytest.mark.parametrize("content", NO_TEXT)
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no text|decode"):
        decode_text(content)


def test_a_mark_that_has_come_in_part_is_waited_for() -> None:
    assert marked_encoding(b"", whole=False) is None
    assert marked_encoding(b"\xef\xbb", whole=False) is None
    assert marked_encoding(b"\xff\xfe", whole=False) is None
    assert marked_encoding(b"\xff\xfea\0", whole=False) == ("utf-16-le", 2)
    assert marked_encoding(b"\xff\xfe") == ("utf-16-le", 2)
    assert marked_encoding(b"{", whole=False) == ("", 0)


def test_an_open_file_is_what_was_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with open_regular_file(path) as file:
        assert os.get_inheritable(file.fileno()) is False
        assert file.read() == b"mine"
