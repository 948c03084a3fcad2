"""Writing files so that a crash at any instant leaves the old content or the new one, never half of it.

Everything that this package leaves on disk goes through these functions.
"""

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from .errors import InputError

CHUNK_BYTES = 1 << 22
ASIDE = ".old"
"""Ending of the folder that keeps what `replace_folder` replaces until it has."""


def atomic_write(path: Path, write: Callable[[BinaryIO], object], flush_folder: bool = True) -> None:
    """Give `write` a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Args:
        path: The file.
        write: Fills it.
        flush_folder: Make the new name durable too; one who writes several files may do so once, after them.

    Raises:
        OSError: The disk is full or the folder cannot be written; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, write)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if flush_folder:
        sync_folder(path.parent)


def atomic_write_together(files: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    """Write several files of one folder, of which the last says that the others are there.

    None has its name before all of them are on disk, and the last has its own after the others, a power cut or not.

    Args:
        files: What fills each file, in order; their folder is there.

    Raises:
        OSError: The disk is full or the folder cannot be written; the last file is then as it was.
    """
    *others, last = files
    written: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            written[path] = _temporary(path, write)
        for path in others:
            written[path].replace(path)
        sync_folder(last.parent)
        written[last].replace(last)
    except BaseException:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(last.parent)


def _temporary(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Return a flushed file beside `path` that is to be renamed to it; none is left where that fails."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, atomically."""
    atomic_write(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write `value` to `path` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file.

    Raises:
        InputError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    if os.name != "posix":  # only POSIX opens folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Flush the files of a folder, and of those in it, to disk."""
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


def file_checksum(path: Path) -> str:
    """Return the XXH3-128 of a file's bytes as 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends well and is removed when it does not.

    An existing `target` is put aside first and removed only after the new folder has taken its place. The current
    folder, where it is empty, stays itself and is filled, so that who is in it sees what came; only then may a crash
    leave a part.

    Raises:
        InputError: `target` is a link to what is not there.
    """
    target = resolved_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target == Path.cwd() and not any(target.iterdir()):
            _fill(temporary, target)
        else:
            replace_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename folder `source` to `target`; what was at `target` goes once `source` has taken its place.

    What a crash here left beside it goes then too.
    """
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=ASIDE, dir=target.parent))
        before = aside / target.name
        try:
            target.rename(before)
            source.rename(target)
        except BaseException:
            if before.exists() and not target.exists():
                before.rename(target)
            with suppress(OSError):  # it is not empty where the old folder could not be put back
                aside.rmdir()
            raise
    else:
        source.rename(target)
    sync_folder(target.parent)
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-z_]' * 8}{ASIDE}"):
        if not {file.name for file in left.iterdir()} - {target.name}:
            shutil.rmtree(left, ignore_errors=True)


def resolved_target(path: Path) -> Path:
    """Return where a file or folder is to be made, as an absolute path without links.

    Raises:
        InputError: It is a link to what is not there.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: a link to {path.readlink()}, which is not there; remove it or name another place")
    return path.resolve()


def check_vacant(folder: Path) -> None:
    """Refuse a folder that is to be made anew where something is already.

    Raises:
        InputError: It is a file, a folder that holds something, or a link to what is not there.
    """
    resolved_target(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a folder that does not, or an empty one")


def _fill(source: Path, target: Path) -> None:
    """Move what is in `source` into `target`, an empty folder, and back where not all of it can be."""
    moved: list[str] = []
    try:
        for file in sorted(source.iterdir()):
            file.rename(target / file.name)
            moved.append(file.name)
    except BaseException:
        for name in moved:
            (target / name).rename(source / name)
        raise
    sync_folder(target)
