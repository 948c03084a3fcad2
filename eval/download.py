"""Fetching a benchmark's archive with BEIR's own download code, checked before and after.

`beir.util` looks at neither the HTTP status nor the length of what came, so a missing page or a cut connection would
surface as a broken ZIP file later. Here the server is asked first, and the folder takes its place in the cache only
once it is whole and holds what it should.
"""

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..files import new_folder

TIMEOUT = (10, 60)
"""Seconds to connect, and between two pieces of an answer."""

ADVICE = "try again, or point --data at a copy"


def cache_folder() -> Path:
    """Return the folder for downloaded benchmarks: `$MODERNIR_CACHE/beir`, or `~/.cache/modernir/beir`."""
    home = os.environ.get("MODERNIR_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "modernir") / "beir"


def download_archive(url: str, target: Path, check: Callable[[Path], str | None]) -> None:
    """Download and unpack a ZIP file whose top folder bears its name; that folder becomes `target`.

    Args:
        url: Address of the ZIP file.
        target: Where the folder belongs; it appears there whole or not at all.
        check: Says what is wrong with the unpacked folder, or None.

    Raises:
        InputError: The address does not answer, the connection was cut, what came is no ZIP file, or `check` found
            a fault in it.
    """
    expected = _announced_size(url)
    with new_folder(target) as fresh:
        unpacked = _fetch(url, fresh, expected)
        problem = check(unpacked) if unpacked.is_dir() else f"it has no folder {unpacked.name}/"
        if problem:
            raise InputError(f"{url}: not the archive that was expected: {problem}")
        (fresh / url.rsplit("/", 1)[-1]).unlink()
        contents = target.parent / f"{fresh.name}.contents"  # aside: what is inside may bear the folder's own name
        try:
            unpacked.rename(contents)
            for part in contents.iterdir():
                part.rename(fresh / part.name)
        finally:
            shutil.rmtree(contents, ignore_errors=True)


def _announced_size(url: str) -> int | None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=TIMEOUT) as answer:
            status, length = answer.status_code, answer.headers.get("Content-Length", "")
    except requests.RequestException as error:
        raise InputError(f"{url}: no answer ({_reason(error)}); {ADVICE}") from error
    if status != 200:
        raise InputError(f"{url}: the server answers {status}, expected 200 and a ZIP file; {ADVICE}")
    return int(length) if length.isdigit() else None


def _fetch(url: str, folder: Path, expected: int | None) -> Path:
    import requests
    from beir.util import download_and_unzip

    try:
        return Path(download_and_unzip(url, str(folder)))
    except requests.RequestException as error:
        raise InputError(f"{url}: the connection was cut ({_reason(error)}); {ADVICE}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        size = (folder / url.rsplit("/", 1)[-1]).stat().st_size
        if expected is not None and size < expected:
            raise InputError(f"{url}: the connection was cut after {size} of {expected} bytes; {ADVICE}") from error
        raise InputError(f"{url}: not a readable ZIP file ({error}); {ADVICE}") from error


def _reason(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__
