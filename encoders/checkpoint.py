"""What a checkpoint folder says of its model, read without loading any of it.

One frozen object answers every question that the loaders ask, so that foreign config files are read in one place.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xxhash

from ..errors import InputError
from ..files import file_checksum, read_json
from .bundled import bundled_folder

HUB_FILES = ["*.json", "*.txt", "*.safetensors", "*.model", "*.jinja", "*.py", "artifact.metadata"]
TASKS = ("query", "document")
"""What a text is, which prompts, lengths and markers go by."""
READING = "sentence_bert_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SETTINGS = "config_sentence_transformers.json"
STANFORD_SETTINGS = "artifact.metadata"
OWN_MODULES = "sentence_transformers."
PYLATE_KEYS = (
    *("query_prefix", "document_prefix", "query_length", "document_length", "skiplist_words"),
    *("do_query_expansion", "attend_to_expansion_tokens"),
)
"""What PyLate adds to sentence-transformers' own settings."""
STANFORD_KEYS = (
    *("query_token_id", "doc_token_id", "query_maxlen", "doc_maxlen", "attend_to_mask_tokens", "mask_punctuation"),
    "similarity",
)
"""What says how a ColBERT of Stanford encodes, among much else that says how it was trained."""
STANFORD_ARCHITECTURE = "HF_ColBERT"
VOLATILE = {"_name_or_path", "name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "backend"}
VOLATILE |= {"is_local", "local_files_only"}
"""Keys of config files that change with the place or the library that wrote them."""


@dataclass(frozen=True)
class Checkpoint:
    """A model folder in the Hugging Face or sentence-transformers layout.

    Attributes:
        name: As the user gave it.
        folder: Where its files are.
        config: The network's `config.json`.
        modules: (class, sub-folder) of each module of `modules.json`; empty for a bare network. The class is a bare
            name where it is sentence-transformers' own, else it is the whole path.
        kind: What sentence-transformers says it saved: "SentenceTransformer", "MultiVectorEncoder" and so on.
        prompts: Prompt name to text put before each input.
        similarity: "cosine" or "dot".
        truncate_dim: Length that embeddings are cut to, or None.
        late: Settings of a multi-vector model that stand outside of its modules: `PYLATE_KEYS` of
            `config_sentence_transformers.json`, or `STANFORD_KEYS` of `artifact.metadata`; empty for others.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    modules: tuple[tuple[str, Path], ...]
    kind: str
    prompts: Mapping[str, str]
    similarity: str
    truncate_dim: int | None
    late: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_stanford(self) -> bool:
        """Whether it is a ColBERT as Stanford's code saves it: the projection lies among the network's weights."""
        return not self.modules and STANFORD_ARCHITECTURE in str(self.config.get("architectures"))

    @property
    def reading(self) -> Mapping[str, Any]:
        """How sentence-transformers reads texts for the network: its `sentence_bert_config.json`, or nothing."""
        return read_optional(self.network_folder / READING)

    @property
    def max_length(self) -> int:
        """Tokens kept of a text, special tokens included, as sentence-transformers resolves it."""
        named = self._length(READING, self.reading, "max_seq_length")
        tokenizer = self._length(TOKENIZER_CONFIG, self.tokenizer_config, "model_max_length")
        positions = self._length("config.json", self.config, "max_position_embeddings")
        return min((limit for limit in (named or tokenizer, positions) if limit), default=512)

    def own_length(self, task: str) -> int | None:
        """Return the tokens kept of a "query" or a "document", or None where the two do not differ."""
        return self._length(READING, self.reading, f"{task}_length")

    def length_of(self, task: str) -> int:
        """Return the tokens kept of a "query" or a "document"."""
        return self.own_length(task) or self.max_length

    def _length(self, file: str, fields: Mapping[str, Any], name: str) -> int | None:
        value = fields.get(name)
        if value is None:
            return None
        whole = type(value) is int or (type(value) is float and value.is_integer())  # 1e30 stands for "no limit"
        if not whole or value < 1:
            raise InputError(
                f"{self.network_folder / file}: {name} is {value!r}; expected a whole number of at least 1"
            )
        return int(value)

    @property
    def network_folder(self) -> Path:
        """The folder of the network's weights and tokenizer."""
        return self.modules[0][1] if self.modules else self.folder

    def prompt(self, task: str) -> str:
        """Return the text put before a "query" or a "document"; sentence-transformers goes by these two names."""
        return self.prompts.get(task, "")

    @property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """What transformers keeps beside the tokenizer, or nothing."""
        return read_optional(self.network_folder / TOKENIZER_CONFIG)

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that change when the weights, the tokenizer or the settings do.

        XXH3-128 over the weights, the vocabulary and the configuration of network, tokenizer and modules. The folder's
        place, README and the versions of the libraries that wrote it do not count.
        """
        digest = xxhash.xxh3_128()
        vocabularies = [self.network_folder / name for name in ("tokenizer.json", "vocab.txt", "tokenizer.model")]
        for file in [*sorted(self.folder.rglob("*.safetensors")), *filter(Path.is_file, vocabularies)]:
            digest.update(f"{file.relative_to(self.folder).as_posix()} {file_checksum(file)}\n".encode())
        settings = {
            "modules": [(name, _lasting(read_optional(folder / "config.json"))) for name, folder in self.modules],
            "network": _lasting(self.config),
            "tokenizer": _lasting(self.tokenizer_config),
            "reading": self.reading,
            "prompts": {name: text for name, text in self.prompts.items() if text},
            "similarity": self.similarity,
            "truncate_dim": self.truncate_dim,
        } | ({"late": self.late} if self.late else {})
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in VOLATILE}


def open_checkpoint(name_or_path: str | Path) -> Checkpoint:
    """Find a checkpoint, in a folder or on the hub, and read what it says of itself.

    Raises:
        InputError: There is no such model, or its folder lacks a config, has one that makes no sense, or has weights
            only as pickles.
    """
    folder = find_folder(str(name_or_path))
    modules = _modules(folder)
    network = modules[0][1] if modules else folder
    if not is_model_folder(folder):
        raise InputError(
            f"{folder}: not a model folder; expected modules.json (sentence-transformers, PyLate) or config.json "
            "(a network alone, Stanford ColBERT)"
        )
    pickled = next((file for file in folder.rglob("pytorch_model*.bin") if _only_pickled(file.parent)), None)
    if pickled is not None:
        raise InputError(f"{pickled}: pickled weights are not loaded; save the model with save_pretrained first")
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"{folder}: no weights there; expected .safetensors files")
    own = read_optional(folder / SETTINGS)
    checkpoint = Checkpoint(
        name=str(name_or_path),
        folder=folder,
        config=read_optional(network / "config.json"),
        modules=tuple(modules),
        kind=str(own.get("model_type") or "SentenceTransformer"),
        prompts=_prompts(own, folder / SETTINGS),
        similarity=_similarity(str(own.get("similarity_fn_name") or "cosine"), str(name_or_path)),
        truncate_dim=_truncate_dim(own, folder / SETTINGS),
    )
    for task in TASKS:
        checkpoint.length_of(task)
    metadata = read_optional(folder / STANFORD_SETTINGS) if checkpoint.is_stanford else {}
    late = {name: own[name] for name in PYLATE_KEYS if name in own}
    return replace(checkpoint, late=late | {name: metadata[name] for name in STANFORD_KEYS if name in metadata})


def _prompts(settings: Mapping[str, Any], file: Path) -> dict[str, str]:
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise InputError(f"{file}: prompts is {prompts!r}; expected an object from names to texts")
    return {name: text or "" for name, text in prompts.items()}


def _truncate_dim(settings: Mapping[str, Any], file: Path) -> int | None:
    size = settings.get("truncate_dim")
    if size is not None and (type(size) is not int or size < 1):
        raise InputError(f"{file}: truncate_dim is {size!r}; expected a whole number of at least 1 or null")
    return size


def _only_pickled(folder: Path) -> bool:
    return not any(folder.glob("*.safetensors"))


def _similarity(name: str, model: str) -> str:
    # MaxSim sums dot products; its mean over a query's tokens ranks alike
    known = {"cosine": "cosine", "dot": "dot", "dot_product": "dot", "maxsim": "dot", "meanmaxsim": "dot"}
    if name.lower() not in known:
        raise InputError(f"{model}: compares embeddings by {name}; an index here does so by cosine or dot product")
    return known[name.lower()]


def _modules(folder: Path) -> list[tuple[str, Path]]:
    file = folder / "modules.json"
    entries = read_json(file) if file.is_file() else []
    if not isinstance(entries, list):
        raise InputError(f"{file}: expected a list of modules, found {type(entries).__name__}")
    modules = []
    for entry in entries:
        fields = entry if isinstance(entry, dict) else {}
        path, kind = fields.get("path", ""), fields.get("type")
        if not isinstance(path, str) or not isinstance(kind, str):
            raise InputError(f"{file}: expected modules with a 'type' and a 'path' that are texts, found {entry!r}")
        modules.append((module_name(kind), module_folder(folder, path, file)))
    return modules


def module_name(kind: str) -> str:
    """Return a module's class as `Checkpoint.modules` has it."""
    return kind.rsplit(".", 1)[-1] if kind.startswith(OWN_MODULES) else kind


def module_folder(folder: Path, path: str, file: Path) -> Path:
    """Return the folder of a module that a file names.

    Raises:
        InputError: It is outside of the checkpoint.
    """
    place = Path(path)
    if place.is_absolute() or ".." in place.parts:
        raise InputError(f"{file}: the module path {path!r} leaves the folder")
    return folder / place


def is_model_folder(path: Path) -> bool:
    """Say whether a folder looks like a checkpoint."""
    return any((path / mark).is_file() for mark in ("modules.json", "config.json"))


def find_folder(name: str) -> Path:
    """Return the local folder of a model: that folder, a bundled one, or the hub's snapshot, downloaded if need be.

    A hub name without an owner is looked for under `sentence-transformers/`, as that library does.

    Raises:
        InputError: There is neither such a folder nor such a model on the hub.
    """
    path = Path(name).expanduser()
    bundled = bundled_folder(name)
    if path.is_dir() and (is_model_folder(path) or bundled is None):
        return path
    if path.is_file():
        raise InputError(f"{name}: a file, where a model folder or a hub name was expected")
    if path.is_absolute() or name.startswith(".") or len(path.parts) > 2:
        raise InputError(f"{name}: no such folder")
    if bundled is not None:
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
    """Read a JSON object from a file, or return an empty dictionary where there is none; see `read_object`."""
    return read_object(path) if path.is_file() else {}


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        InputError: The file is missing or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
