"""A file of JSON Lines that is written in blocks over hours, and goes on where it stopped.

Until it is whole it grows in a folder of its own beside its name, `OUTPUT.partial`: `lines` holds whole blocks, each
flushed to disk before `state.json` counts it, so that what a crash left half-written is cut off again and no block is
ever made twice. The state also keeps the settings of the run, and a run with other ones is refused.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ...errors import InputError
from ...files import read_json, sync_folder, write_json
from ..readers.packing import packing_of

PARTIAL = ".partial"
STATE, LINES, LOCK = "state.json", "lines", "lock"


class ResumableLines:
    """A file of JSON Lines in the making; used in a `with` block, and whole after `finish`.

    Args:
        output: The file; its ending says how it is compressed.
        settings: What decides its content, as JSON values; a run with other settings does not go on with it.
        unit: What is counted, for messages.
        overwrite: Replace a file that is there, and forget an unfinished run with other settings.

    Attributes:
        done: Units of the input whose lines are kept.
        counts: Sums over them, as `append` was given.
        folder: Where the run keeps its files; others may be put there, they go with it.

    Raises:
        InputError: The ending is unknown, the file is there already, another process writes it, or an unfinished run
            has other settings, which are named.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], unit: str, overwrite: bool = False) -> None:
        self._packing = packing_of(output)
        if output.exists() and not overwrite:
            raise InputError(f"{output}: is there already; name another --output, or replace it with --overwrite")
        self.output = output
        self.folder = output.with_name(f"{output.name}{PARTIAL}")
        self.done = 0
        self.counts: dict[str, int] = {}
        self._settings = json.loads(json.dumps(settings))
        self._unit = unit
        self._overwrite = overwrite
        self._bytes = 0
        self._began: dict[str, Any] = {}

    def __enter__(self) -> "ResumableLines":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"{self.output}: another process is writing this file; wait for it to end") from error
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _begin(self) -> None:
        try:
            state = self._state()
            self._began = {} if state is None else state["settings"]
            if state is not None:
                self._check(self._settings)
        except InputError:
            if not self._overwrite:
                raise
            state, self._began = None, {}
        if state is None:
            for file in self.folder.iterdir():
                if file.name != LOCK:
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
            (self.folder / LINES).touch()
            self._keep()
            return
        self.done, self.counts, self._bytes = state["done"], state["counts"], state["bytes"]
        os.truncate(self.folder / LINES, self._bytes)

    def _state(self) -> dict[str, Any] | None:
        path, lines = self.folder / STATE, self.folder / LINES
        if not path.is_file():
            foreign = [file.name for file in self.folder.iterdir() if not self._is_own(file)]
            if foreign:
                raise InputError(f"{self.folder}: holds no run (but {foreign[0]}); move it away or name another output")
            return None
        state: dict[str, Any] = read_json(path)
        size = lines.stat().st_size if lines.is_file() else 0
        if size < state["bytes"]:
            raise InputError(f"{lines}: damaged, {size:,} bytes of {state['bytes']:,}; start over with --overwrite")
        return state

    def _is_own(self, file: Path) -> bool:
        """Say whether a file is what a run leaves that was killed before it had a state."""
        empty = file.name == LINES and not file.stat().st_size
        return empty or file.name == LOCK or file.name.startswith(f".{STATE}.")

    def _check(self, names: Iterable[str]) -> None:
        changed = [name for name in names if self._began.get(name) != self._settings[name]]
        if changed:
            changes = "; ".join(
                f"{name} was {_shown(self._began.get(name))}, is {_shown(self._settings[name])}" for name in changed
            )
            raise InputError(
                f"{self.folder}: an unfinished run with other settings ({changes}); give the same ones to go on with "
                "it, or start over with --overwrite"
            )

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Add settings that were not known when the run was opened; to be called before the first `append`.

        Where an unfinished run has others and is to be overwritten, its lines go, and other files stay.

        Raises:
            InputError: The unfinished run has others, which are named, and is not to be overwritten.
        """
        more = json.loads(json.dumps(settings))
        self._settings |= more
        try:
            self._check([name for name in more if name in self._began])
        except InputError:
            if not self._overwrite:
                raise
            self.done, self.counts, self._bytes, self._began = 0, {}, 0, {}
        self._keep()
        os.truncate(self.folder / LINES, self._bytes)

    def append(self, rows: Iterable[Mapping[str, Any]], counts: Mapping[str, int], units: int) -> None:
        """Write the lines of the next block of the input; they are durable when this returns.

        Args:
            rows: One JSON object a line; there may be none.
            counts: To be added up.
            units: How much of the input they are the lines of.
        """
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        data = self._packed(text.encode()) if text else b""
        with (self.folder / LINES).open("r+b") as stream:
            stream.seek(self._bytes)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self._bytes += len(data)
        self.done += units
        self.counts = {name: self.counts.get(name, 0) + counts.get(name, 0) for name in {**self.counts, **counts}}
        self._keep()

    def _packed(self, data: bytes) -> bytes:
        block = BytesIO()
        with self._packing(block) as stream:
            stream.write(data)
        return block.getvalue()

    def _keep(self) -> None:
        settings = self._began | self._settings  # what a run that goes on has yet to settle is not forgotten
        state = {"done": self.done, "bytes": self._bytes, "counts": self.counts, "settings": settings}
        write_json(self.folder / STATE, state)

    def finish(self) -> Path:
        """Give the file its name, remove what the run kept beside it, and return the file."""
        (self.folder / LINES).replace(self.output)
        sync_folder(self.output.parent)
        self._remove()
        return self.output

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if isinstance(error, InputError) and not self.done and self._holds_nothing():
            self._remove()
        if isinstance(error, KeyboardInterrupt):
            kept = f"{self.done:,} {self._unit} are kept in {self.folder}; the same command goes on from there"
            raise KeyboardInterrupt(kept) from error

    def _holds_nothing(self) -> bool:
        return not any(file.is_dir() for file in self.folder.iterdir())

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)
