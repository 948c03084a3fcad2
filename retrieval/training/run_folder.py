"""The folder of a training run: what may go into it, which checkpoint is the newest whole one, and the finished model.

    training.toml, training_log.jsonl      the settings and the log
    examples/, checkpoints/checkpoint-N/   what a run needs to go on; the examples go when it is done
    modules.json and the model's files     the finished model, modules.json last

A folder with `modules.json` is finished; everything before that is a run that can be resumed.
"""

import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError
from ...files import sync_folder
from .run_settings import SETTINGS_FILE, RunSettings

if TYPE_CHECKING:
    from sentence_transformers.base import BaseModel

FINISHED = "modules.json"
STATE = "trainer_state.json"
"""The last file that the trainer writes into a checkpoint."""
NO_SPACE = ("no space left", "file write failed", "failed writing file", "unexpected pos", "disk quota exceeded")
"""How torch and safetensors, which raise errors without a number, say that the disk is full."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and states of one run.

    Attributes:
        path: The folder.
        mark: File of a finished model that comes last.
    """

    mark: ClassVar[str] = FINISHED

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def examples(self) -> Path:
        """Folder of the Arrow file with the examples."""
        return self.path / "examples"

    @property
    def log(self) -> Path:
        """Log of the run, one JSON object a line."""
        return self.path / "training_log.jsonl"

    @property
    def own_names(self) -> set[str]:
        """Names of what a run writes here before its model."""
        return {SETTINGS_FILE, self.log.name, self.examples.name, self.checkpoints.name}

    def claim(self, settings: RunSettings) -> Path | None:
        """Take the folder for a new run, or for going on with one if `settings.resume`.

        Returns:
            The checkpoint to go on from; None for a run that begins, or was cut before its first checkpoint.

        Raises:
            InputError: See `begin` and `resume`.
        """
        if settings.resume:
            return self.resume(settings)
        self.begin(settings)
        return None

    def begin(self, settings: RunSettings) -> None:
        """Empty the folder of what a failed start left, and write the settings of a new run.

        Raises:
            InputError: It holds a finished model, another run's checkpoints, or files that are not of a run.
        """
        self._refuse_finished()
        if self.newest_checkpoint():
            raise InputError(f"{self.path}: holds an unfinished run; go on with --resume, or name another --output")
        # without the settings, folders of these names are somebody else's
        own = self.own_names if (self.path / SETTINGS_FILE).is_file() else set()
        foreign = sorted(file.name for file in self._files() if file.name not in own and not file.name.startswith("."))
        if foreign:
            raise InputError(f"{self.path}: not empty (it holds {foreign[0]}); name a new folder with --output")
        self._clear()
        settings.write(self.path)

    def resume(self, settings: RunSettings) -> Path | None:
        """Return the newest whole checkpoint, or None where the run was cut before its first one.

        Checkpoints that were not written to the end are removed.

        Raises:
            InputError: There is no run, it is finished, or its settings differ (which ones is said).
        """
        self._refuse_finished()
        if not (self.path / SETTINGS_FILE).is_file():
            raise InputError(f"{self.path}: no run to resume; start one without --resume")
        began = type(settings).from_sources(self.path / SETTINGS_FILE, output=str(self.path))
        if names := began.differences(settings):
            changes = "; ".join(
                f"{name} was {getattr(began, name)!r}, is {getattr(settings, name)!r}" for name in names
            )
            raise InputError(
                f"{self.path}: cannot resume with other settings ({changes}); name a new --output for them"
            )
        self._drop_half_checkpoints()
        return self.newest_checkpoint()

    def newest_checkpoint(self) -> Path | None:
        """Return the checkpoint with the most steps whose state was written to the end."""
        whole = [(step, path) for path in self.checkpoints.glob("checkpoint-*") if (step := _whole_step(path))]
        return max(whole)[1] if whole else None

    def checkpoint(self, step: int) -> Path:
        """Return where the checkpoint of a step is."""
        return self.checkpoints / f"checkpoint-{step}"

    def publish(self, model: "BaseModel", write: Callable[[Path], None] | None = None) -> None:
        """Save the model beside the run's files: first all of it in a hidden folder, then moved here, mark last.

        Args:
            model: Saved as sentence-transformers does.
            write: Saves it into a folder in another way.
        """
        temporary = Path(tempfile.mkdtemp(prefix=".model.", dir=self.path))
        try:
            if write:
                write(temporary)
            else:
                model.save_pretrained(str(temporary))
            for file in filter(Path.is_file, temporary.rglob("*")):
                file.chmod(0o644)
            for file in sorted(temporary.iterdir(), key=lambda file: (file.name == self.mark, file.name)):
                target = self.path / file.name
                if target.is_dir():
                    shutil.rmtree(target)
                file.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(self.path)
        shutil.rmtree(self.examples, ignore_errors=True)

    @contextmanager
    def undone_by_bad_input(self) -> Iterator[None]:
        """Leave nothing of a run that bad input ends before its first checkpoint."""
        try:
            yield
        except InputError:
            if not self.newest_checkpoint():
                self._clear()
                (self.path / SETTINGS_FILE).unlink(missing_ok=True)
                with suppress(OSError):  # not empty
                    self.path.rmdir()
            raise

    @contextmanager
    def full_disk_said(self) -> Iterator[None]:
        """Turn a full disk, however a library reports it, into one line that says how to go on.

        Raises:
            InputError: The disk is full.
        """
        try:
            yield
        except Exception as error:
            if not _is_full_disk(error):
                raise
            self._drop_half_checkpoints()
            newest = self.newest_checkpoint()
            kept = f"{newest} is kept: free some space and go on with --resume" if newest else "free some and try again"
            raise InputError(f"no space left on the disk of {self.path}; {kept}") from error

    def _refuse_finished(self) -> None:
        if (self.path / self.mark).exists():
            raise InputError(f"{self.path}: holds a finished model; name another folder with --output")

    def _clear(self) -> None:
        for folder in (self.checkpoints, self.examples):
            shutil.rmtree(folder, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def _drop_half_checkpoints(self) -> None:
        for path in self.checkpoints.glob("checkpoint-*"):
            if _whole_step(path) is None:
                shutil.rmtree(path)

    def _files(self) -> list[Path]:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: a file, where the output folder was expected")
        return list(self.path.iterdir()) if self.path.exists() else []


def _whole_step(checkpoint: Path) -> int | None:
    try:
        state: Any = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        return int(state["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(words in str(error).lower() for words in NO_SPACE)
