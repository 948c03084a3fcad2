"""What a checkpoint folder says of its model, read without loading any of it.

One frozen object answers every question that the loaders ask, so that foreign config files are read in one place.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from ..errors import InputError
from ..files import file_checksum, read_json
from .bundled import bundled_folder

HUB_FILES = ["*.json", "*.txt", "*.safetensors", "*.model", "*.jinja"]
QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder in the Hugging Face or sentence-transformers layout.

    Attributes:
        name: As the user gave it.
        folder: Where its files are.
        config: The network's `config.json`.
        modules: (class name, sub-folder) of each module of `modules.json`; empty for a bare network.
        prompts: Prompt name to text put before each input.
        default_prompt: Name of the prompt for inputs of neither kind, or None.
        similarity: "cosine" or "dot".
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    modules: tuple[tuple[str, Path], ...]
    prompts: Mapping[str, str]
    default_prompt: str | None
    similarity: str

    @property
    def architecture(self) -> str:
        """The network's `model_type`, such as "bert" or "modernbert"."""
        return str(self.config.get("model_type", "unknown"))

    @property
    def reading(self) -> Mapping[str, Any]:
        """How sentence-transformers reads texts for the network: its `sentence_bert_config.json`, or nothing."""
        return read_optional(self.network_folder / "sentence_bert_config.json")

    @property
    def max_length(self) -> int:
        """Tokens kept of a text, special tokens included, as sentence-transformers resolves it."""
        named = self.reading.get("max_seq_length")
        tokenizer = read_optional(self.network_folder / "tokenizer_config.json").get("model_max_length")
        positions = self.config.get("max_position_embeddings")
        limits = [int(limit) for limit in (named or tokenizer, positions) if limit]
        return min(limits, default=512)

    def length_of(self, task: str) -> int:
        """Return the tokens kept of a "query" or a "document", where they differ."""
        return int(self.reading.get(f"{task}_length") or self.max_length)

    @property
    def network_folder(self) -> Path:
        """The folder of the network's weights and tokenizer."""
        return self.modules[0][1] if self.modules else self.folder

    def prompt(self, names: tuple[str, ...]) -> str:
        """Return the text of the first prompt called one of `names`, or of the default prompt, or nothing."""
        name = next((name for name in names if name in self.prompts), self.default_prompt)
        return self.prompts.get(name, "") if name else ""

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that change when the weights, the tokenizer or the settings do.

        XXH3-128 over the checksums of the weight, tokenizer and module files and over the settings above.
        The folder's place, README and library versions do not count.
        """
        digest = xxhash.xxh3_128()
        modules = [folder / "config.json" for name, folder in self.modules if folder != self.network_folder]
        vocabularies = [self.network_folder / name for name in ("tokenizer.json", "vocab.txt", "tokenizer.model")]
        weights = sorted(self.folder.rglob("*.safetensors"))
        for file in [*weights, *vocabularies, *modules]:
            if file.is_file():
                digest.update(f"{file.relative_to(self.folder).as_posix()} {file_checksum(file)}\n".encode())
        settings = {
            "modules": [name for name, _ in self.modules],
            "prompts": {name: text for name, text in self.prompts.items() if text},
            "lengths": [self.length_of(task) for task in ("query", "document")],
            "similarity": self.similarity,
        }
        digest.update(json.dumps(settings, sort_keys=True).encode())
        return digest.hexdigest()


def open_checkpoint(name_or_path: str | Path) -> Checkpoint:
    """Find a checkpoint, in a folder or on the hub, and read what it says of itself.

    Raises:
        InputError: There is no such model, or its folder lacks a config or has weights only as pickles.
    """
    folder = find_folder(str(name_or_path))
    modules = _modules(folder)
    network = modules[0][1] if modules else folder
    if not (network / "config.json").is_file() and not modules:
        raise InputError(f"{folder}: not a model folder; expected modules.json (sentence-transformers) or config.json")
    if not any(folder.rglob("*.safetensors")):
        found = "only pickled ones (.bin); convert them" if any(folder.rglob("*.bin")) else "none; save them"
        raise InputError(f"{folder}: expected weights as .safetensors, found {found} with save_pretrained first")
    own = read_optional(folder / "config_sentence_transformers.json")
    return Checkpoint(
        name=str(name_or_path),
        folder=folder,
        config=read_optional(network / "config.json"),
        modules=tuple(modules),
        prompts={key: text or "" for key, text in (own.get("prompts") or {}).items()},
        default_prompt=own.get("default_prompt_name"),
        similarity="dot" if str(own.get("similarity_fn_name") or "cosine").startswith("dot") else "cosine",
    )


def _modules(folder: Path) -> list[tuple[str, Path]]:
    file = folder / "modules.json"
    modules = []
    for entry in read_json(file) if file.is_file() else []:
        place = Path(entry.get("path", ""))
        if place.is_absolute() or ".." in place.parts:
            raise InputError(f"{file}: the module path {entry['path']!r} leaves the folder")
        modules.append((str(entry["type"]).rsplit(".", 1)[-1], folder / place))
    return modules


def find_folder(name: str) -> Path:
    """Return the local folder of a model: that folder, a bundled one, or the hub's snapshot, downloaded if need be.

    A hub name without an owner is looked for under `sentence-transformers/`, as that library does.

    Raises:
        InputError: There is neither such a folder nor such a model on the hub.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise InputError(f"{name}: a file, where a model folder or a hub name was expected")
    if path.is_absolute() or name.startswith(".") or len(path.parts) > 2:
        raise InputError(f"{name}: no such folder")
    if (bundled := bundled_folder(name)) is not None:
        return bundled

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository = name if "/" in name else f"sentence-transformers/{name}"
    with suppress(LocalEntryNotFoundError, HFValidationError):
        return Path(snapshot_download(repository, allow_patterns=HUB_FILES, local_files_only=True))
    try:
        return Path(snapshot_download(repository, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub's, the network's and the file system's own kinds
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"{name}: neither a folder here nor a model on the hub ({reason})") from error


def read_optional(path: Path) -> dict[str, Any]:
    """Read a JSON file, or return an empty dictionary where there is none."""
    return read_json(path) if path.is_file() else {}
