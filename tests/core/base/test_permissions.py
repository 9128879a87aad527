"""Who else may have written a file: another owner, a group, everybody; and folders that are made for one user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.base.files import open_regular_file
from core.base.permissions import NotOnlyOurs, make_private, make_private_folder
from tests.support.odd_files import give_away

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_what_others_may_write_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "it's"
    path.touch()
    path.chmod(mode)
    with pytest.raises(NotOnlyOurs, match="chmod go-w") as caught:
        open_regular_file(path, only_ours=True)
    assert caught.value.strerror is not None
    subprocess.run(
        caught.value.strerror.partition(": ")[2], shell=True, check=True
    )  # it works as it is written
    open_regular_file(path, only_ours=True).close()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o755])
def test_what_others_may_only_read_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    open_regular_file(path, only_ours=True).close()


def test_what_belongs_to_somebody_else_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    link = tmp_path / "link"
    link.symlink_to(path)
    give_away(path, monkeypatch)
    if os.geteuid() != 0 and path.stat().st_uid == 0:
        pytest.fail("what is root's is everybody's to read")
    for each in (path, link):
        with pytest.raises(NotOnlyOurs, match=r"belongs to .*chown"):
            open_regular_file(each, only_ours=True)
    open_regular_file(path).close()  # an attachment may be anybody's


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_are_made_for_the_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    for name in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    make_private_folder(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|directory"):
        make_private_folder(tmp_path / "file" / "below")


def test_what_others_may_read_is_made_private_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o644)
    assert make_private(path, path.stat())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not make_private(path, path.stat())
