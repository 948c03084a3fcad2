"""The files of an index folder: their names, their checks, and what a writer that died left behind."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InputError, ModernirError
from ..files import file_checksum
from .catalog_reader import CATALOG_FILE, FileRow

LOCK_FILE = "writer.lock"
OWN_NAMES = {LOCK_FILE, f".{CATALOG_FILE}.tmp", *(f"{CATALOG_FILE}{end}" for end in ("", "-wal", "-shm", "-journal"))}
"""Names of an index's files but for the numbered ones."""
_NUMBERED = re.compile(r"\.?(segment|shared)-\d{6,}\..+")


def segment_stem(number: int) -> str:
    """Return what the names of a segment's files begin with, a dot follows."""
    return f"segment-{number:06d}"


def shared_stem(number: int) -> str:
    """Return what the name of a file that all segments share begins with, a dot follows."""
    return f"shared-{number:06d}"


def describe_file(folder: Path, name: str) -> FileRow:
    """Return what the catalog is to keep of a file."""
    path = folder / name
    return FileRow(name, path.stat().st_size, file_checksum(path))


def check_size(folder: Path, row: FileRow) -> Path:
    """Return the path of a file.

    Raises:
        ModernirError: It is missing, or shorter or longer than the catalog says.
    """
    path = folder / row.name
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        raise ModernirError(f"{path}: segment file is missing; rebuild the index or restore the file") from None
    if found != row.bytes:
        raise ModernirError(
            f"{path}: segment file has {found} bytes, expected {row.bytes}; rebuild the index or restore the file"
        )
    return path


def damaged(folder: Path, row: FileRow) -> str | None:
    """Say what is wrong with a file, or None: its presence, size and checksum."""
    path = folder / row.name
    if not path.is_file():
        return f"{path}: missing"
    if path.stat().st_size != row.bytes:
        return f"{path}: {path.stat().st_size} bytes, expected {row.bytes}"
    if file_checksum(path) != row.checksum:
        return f"{path}: checksum differs; the file was changed or damaged"
    return None


def own_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are an index's, whole or left over."""
    return [file for file in folder.iterdir() if file.name in OWN_NAMES or _NUMBERED.fullmatch(file.name)]


def folder_bytes(folder: Path) -> int:
    """Return the bytes that the files of a folder take; one that a writer removes meanwhile counts nothing."""
    total = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the one writer of an index throughout the block.

    Raises:
        InputError: Another one writes.
    """
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{folder}: another process is writing to this index; wait for it to end") from error
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, named: Iterable[str]) -> None:
    """Remove what no row of the catalog names: what a writer left that died or failed, and what was merged away."""
    keep = {*named, *OWN_NAMES}
    for file in own_files(folder):
        if file.name not in keep or file.suffix == ".tmp":
            with suppress(PermissionError):  # where open files cannot be removed, the next writer does it
                file.unlink(missing_ok=True)


def remove_index(folder: Path) -> None:
    """Delete an index, and its folder unless something else is in it."""
    for file in sorted(own_files(folder), key=lambda file: file.name != CATALOG_FILE):  # without it, it is none
        file.unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        folder.rmdir()
