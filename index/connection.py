"""Connections to the SQLite file of a catalog: for writing, for reading, and where nothing may be written."""

import os
import sqlite3
from pathlib import Path

from ..errors import InputError
from .lexical import register


def connect(path: Path, writable: bool) -> sqlite3.Connection:
    """Open a catalog's file.

    Raises:
        InputError: It is no catalog.
    """
    try:
        if not writable:
            return _for_reading(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")  # KiB
        connection.execute("SELECT 1 FROM settings")
        register(connection)
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: not a readable catalog ({error})") from error
    return connection


def is_immutable(connection: sqlite3.Connection) -> bool:
    """Say whether a connection takes the file as one that nobody changes."""
    return isinstance(connection, _Immutable)


class _Immutable(sqlite3.Connection):
    """A connection to a file in a folder that may not be written."""


def _for_reading(path: Path, immutable: bool = False) -> sqlite3.Connection:
    # A connection that could write, and is told not to, takes SQLite's side files away when it closes.
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if immutable else 'mode=rw'}"
    kind = _Immutable if immutable else sqlite3.Connection
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=kind)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM settings")
    except sqlite3.OperationalError:
        connection.close()
        # A folder that may not be written has no place for those files, and no writer to share them with.
        if immutable or os.access(path.parent, os.W_OK):
            raise
        _refuse_log(path)
        return _for_reading(path, immutable=True)
    return connection


def _refuse_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise InputError(
            f"{path}: its last commits lie in {log.name}, which takes a folder that may be written to read; "
            "open the index once as one who may write there, or copy the folder"
        )
