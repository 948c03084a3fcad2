"""Files of a hub's data sets, fetched once; an interrupted one goes on at the byte where it stopped.

The hub's own client starts a file anew, which at the gigabytes of MLDR's corpus is no way to go on. So it is asked only
where a file is and how large; the bytes are fetched here. A file has its name only once all of it is here.
"""

import errno
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from filelock import FileLock

from ..errors import InputError, ModernirError
from ..progress import progress
from .download import ADVICE, TIMEOUT, cache_folder
from .registry.entry import HubFiles

CHUNK_BYTES = 1 << 20
QUIET_BYTES = 32 << 20
"""Smaller files are fetched without progress being shown."""


def fetch_files(hub: HubFiles, address: str | None = None) -> dict[str, list[Path]]:
    """Return where the files of each path of `hub` lie here, fetching those that do not yet.

    Args:
        hub: The repository and the paths in it.
        address: Of the hub, in place of the usual one.

    Raises:
        InputError: The hub does not answer or has no such file, or the connection was cut and nothing more came.
    """
    names = _names(hub, address)
    return {pattern: [_file(hub, name, address) for name in names[pattern]] for pattern in hub.patterns}


def _names(hub: HubFiles, address: str | None) -> dict[str, list[str]]:
    if not any("*" in pattern for pattern in hub.patterns):
        return {pattern: [pattern] for pattern in hub.patterns}
    from huggingface_hub import HfApi

    try:
        listed = HfApi(address).list_repo_files(hub.repository, repo_type="dataset", revision=hub.revision)
    except Exception as error:  # the hub's own kinds, and those of the network below it
        raise _failure(hub.repository, error) from error
    inside = [name for name in listed if ".." not in PurePosixPath(name).parts and not name.startswith("/")]
    names = {pattern: sorted(name for name in inside if fnmatchcase(name, pattern)) for pattern in hub.patterns}
    for pattern, found in names.items():
        if not found:
            raise _missing(hub, pattern)
    return names


def _file(hub: HubFiles, name: str, address: str | None) -> Path:
    place = cache_folder().with_name("hub") / hub.repository / hub.revision / name
    if place.is_file():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{place.name}.lock")):  # two that append to one file would spoil it
        if not place.is_file():
            try:
                _fetch(hub, name, address, place)
            except ModernirError:
                raise
            except Exception as error:  # as above
                raise _failure(f"{hub.repository}/{name}", error) from error
    return place


def _fetch(hub: HubFiles, name: str, address: str | None, place: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    url = hf_hub_url(hub.repository, name, repo_type="dataset", revision=hub.revision, endpoint=address)
    try:
        metadata = get_hf_file_metadata(url, endpoint=address)
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise
        raise _missing(hub, name) from error
    if metadata.size is None:
        raise InputError(f"{url}: the hub does not say how large this file is; {ADVICE}")
    state = "".join(filter(str.isalnum, metadata.etag or ""))[:32]  # what has come of another state is no use
    part = place.with_name(f".{place.name}.{state}.part")
    _fill(url, part, metadata.size, f"{hub.repository}/{name}")
    part.replace(place)


def _fill(url: str, part: Path, size: int, what: str) -> None:
    """Fetch what `part` lacks of `size` bytes, asking again as long as something comes."""
    import requests

    part.touch()
    with progress(f"fetching {what}", size, "bytes", part.stat().st_size, quiet=size < QUIET_BYTES) as report:
        while (have := part.stat().st_size) < size:
            try:
                for done in _more(url, part, have):
                    report(done)
            except requests.HTTPError:
                raise
            except requests.RequestException as error:
                if part.stat().st_size > have:
                    continue
                raise InputError(f"{what}: the connection was cut after {have} of {size} bytes; {ADVICE}") from error
            if part.stat().st_size <= have:
                raise InputError(f"{what}: nothing comes after {have} of {size} bytes; {ADVICE}")
    if part.stat().st_size > size:
        part.unlink()
        raise InputError(f"{what}: more came than the {size} bytes that the hub announced; {ADVICE}")


def _more(url: str, part: Path, have: int) -> Iterator[int]:
    """Append what comes to `part`, and yield its size after each piece."""
    import requests
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        with part.open("ab" if answer.status_code == 206 else "wb") as stream:
            for chunk in answer.iter_content(CHUNK_BYTES):
                stream.write(chunk)
                yield stream.tell()


def _missing(hub: HubFiles, name: str) -> InputError:
    return InputError(f"{hub.repository}: has no file {name}, which this benchmark is made of")


def _failure(what: str, error: Exception) -> Exception:
    """Return what to raise: an error that names what was fetched, or the disk's own where the disk is at fault."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return error
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return InputError(f"{what}: cannot be fetched from the hub ({reason}); {ADVICE}")
