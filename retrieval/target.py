"""What a build starts from: what an index records of its corpus, and whether its folder may be built in."""

from contextlib import closing
from pathlib import Path

from ..errors import InputError
from ..files import file_checksum
from ..index.catalog import Catalog
from ..index.catalog_reader import CATALOG_FILE
from ..index.folder import own_files
from .readers.documents import corpus_file
from .readers.rows import RowOptions


def describe_source(source: str | Path, options: RowOptions | None) -> dict[str, str | None]:
    """Return what an index records of its corpus: absolute path or data set name with the split, and the checksum.

    A data set of the `datasets` library has no checksum.
    """
    path = Path(corpus_file(source))
    name = str(path.resolve()) if path.exists() else str(source)
    details = [detail for detail in (options.config, options.split) if detail] if options else []
    checksum = file_checksum(path) if path.is_file() else None
    return {"name": ":".join([name, *details]), "checksum": checksum}


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a folder that an index must not be built in.

    Raises:
        InputError: It holds a finished index and `overwrite` is not set, or something else than an index.
    """
    if not is_finished(path):
        return
    if not overwrite:
        raise InputError(f"{path}: an index is here already; search it, or replace it with --overwrite")
    others = sorted(set(path.iterdir()) - set(own_files(path)))
    if others:
        raise InputError(f"{path}: holds more than an index ({others[0].name}); move that away before you replace it")


def is_finished(path: Path) -> bool:
    """Say whether a folder holds a finished index.

    Raises:
        InputError: The folder holds files but no index.
    """
    if not (path / CATALOG_FILE).is_file():
        if path.is_file() or (path.is_dir() and any(not file.name.startswith(".") for file in path.iterdir())):
            raise InputError(f"{path}: not empty and no index; choose another folder for it")
        return False
    with closing(Catalog(path)) as catalog:  # without the segments: a damaged index may be replaced
        return catalog.setting("build") is None
