"""A file or folder is the old one or the new one, whatever breaks while it is written."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from modernir.errors import InputError
from modernir.files import (
    atomic_write,
    file_checksum,
    new_folder,
    read_json,
    replace_folder,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "deep/er/a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "deep/er/a.json") == {"ü": [1, None]}
    assert "ü" in (tmp_path / "deep/er/a.json").read_text(encoding="utf-8")
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two")
    assert (tmp_path / "a.txt").read_text() == "two"
    assert names(tmp_path) == ["a.txt", "deep"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644
    with new_folder(tmp_path / "new"):
        pass
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o755


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("x")])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")

    def half(stream: BinaryIO) -> None:
        stream.write(b"half of the ne")
        stream.flush()
        raise error

    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a.txt", half)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fills_up_late_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="full"):
        write_text(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_content_is_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_text(tmp_path / "a.txt", "x")
    assert steps == (["file", "rename", "folder"] if os.name == "posix" else ["file", "rename"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"a\.json: no such file"), (b"{", r"a\.json: not valid JSON"), (b'"\xff"', r"a\.json: not valid JSON")],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "a.json")


def test_a_checksum_changes_with_any_byte(tmp_path: Path) -> None:
    import xxhash

    content = bytes(range(256)) * 40_000  # more than one chunk
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content[:-1] + b"\x00")
    assert file_checksum(tmp_path / "a") == xxhash.xxh3_128(content).hexdigest()
    assert file_checksum(tmp_path / "a") != file_checksum(tmp_path / "b")


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "made/here") as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "made/here").exists()
    assert names(tmp_path / "made") == ["here"]
    assert names(tmp_path / "made/here") == ["a"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/old").write_text("x")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "here") as folder:
        (folder / "new").write_text("x")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["here"]
    assert names(tmp_path / "here") == ["old"]
    with new_folder(tmp_path / "here") as folder:
        (folder / "new").write_text("x")
    assert names(tmp_path) == ["here"]
    assert names(tmp_path / "here") == ["new"]


@pytest.mark.parametrize("written", [".", "../here", "../other/../here"])
def test_the_current_folder_is_filled_and_stays_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    for name in ("here", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = (tmp_path / "here").stat().st_ino
    with new_folder(Path(written)) as folder:
        (folder / "a").write_text("x")
        (folder / "deep").mkdir()
        (folder / "deep/b").write_text("y")
        assert names(Path()) == []
    assert names(Path()) == ["a", "deep"]
    assert (tmp_path / "here/deep/b").read_text() == "y"
    assert (tmp_path / "here").stat().st_ino == before
    assert names(tmp_path) == ["here", "other"]


def test_a_current_folder_that_cannot_be_filled_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    rename = Path.rename

    def second_fails(self: Path, target: Path) -> Path:
        if target == tmp_path / "here/b":
            raise OSError(errno.ENOSPC, "full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OSError, match="full"), new_folder(Path()) as folder:
        for name in ("a", "b", "c"):
            (folder / name).write_text("x")
    assert names(tmp_path) == ["here"]
    assert names(tmp_path / "here") == []


def test_a_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("x")
    assert names(tmp_path) == ["link", "there"]
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "there") == ["a"]


def test_a_link_to_nothing_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"link: a link to .*gone, which is not there"), new_folder(tmp_path / "link"):
        pytest.fail("nothing is to be made")
    assert names(tmp_path) == ["link"]


def test_a_folder_that_only_looks_like_one_put_aside_is_left_alone(tmp_path: Path) -> None:
    for name in ("here", "new", ".here.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "here")
    assert names(tmp_path) == [".here.old", "here"]
    assert (tmp_path / ".here.old/mine").read_text() == ".here.old"
    assert (tmp_path / "here/mine").read_text() == "new"


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("x")
    rename, calls = Path.rename, iter(range(9))

    def second_fails(self: Path, target: Path) -> Path:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OSError, match="full"):
        replace_folder(tmp_path / "new", tmp_path / "old")
    monkeypatch.undo()
    assert names(tmp_path) == ["new", "old"]
    assert names(tmp_path / "old") == ["old"]
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == ["new"]
