"""What this machine has for modernir: versions, devices, attention back-ends, FAISS features, and what is missing.

A table of checks; each imports what it looks at and says what it found. A check never fails the command.
"""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "transformers", "sentence-transformers", "datasets", "beir", "faiss-cpu", "numba", "safetensors")
EXTRAS = {"lora": "peft", "mteb": "mteb"}
"""Extra to the module that it brings."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        area: What it belongs to.
        name: What was looked at.
        found: What there is.
        ok: True if usable, False if missing and worth adding, None where it only informs.
        remedy: The command that adds what is missing, or empty.
    """

    area: str
    name: str
    found: str
    ok: bool | None = None
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


def check_versions() -> Iterator[Finding]:
    """Look at the versions of Python and of the libraries that matter to results."""
    from . import __version__

    yield Finding("versions", "modernir", __version__, True)
    yield Finding("versions", "Python", f"{platform.python_version()} on {platform.platform()}", True)
    for library in LIBRARIES:
        try:
            yield Finding("versions", library, importlib.metadata.version(library), True)
        except importlib.metadata.PackageNotFoundError:
            name = "faiss-gpu" if library == "faiss-cpu" and _has("faiss") else ""
            yield Finding("versions", library, name or "missing", bool(name), "" if name else f"pip install {library}")


def check_processor() -> Iterator[Finding]:
    """Look at the cores and the instruction sets that decide about speed."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    wanted = ("avx2", "avx512f", "avx512vnni", "avx512bf16", "amx-bf16", "amx-int8", "neon", "dotprod")
    present = [name for name in wanted if features.get(name)]
    yield Finding("processor", "cores", f"{os.cpu_count()} ({binding.get_host_cpu_name()})")
    yield Finding("processor", "instruction sets", ", ".join(present) or "none of " + ", ".join(wanted))


def check_devices() -> Iterator[Finding]:
    """Look at the devices an encoder can run on and the precision chosen for each."""
    import torch

    from .encoders.precision import resolve_precision

    def chosen(device: str) -> str:
        return f"precision {resolve_precision(None, torch.device(device))}"

    yield Finding("devices", "cpu", f"{torch.get_num_threads()} threads, {chosen('cpu')}", True)
    yield _cpu_engine()
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        device = f"cuda:{number}"
        yield Finding("devices", device, f"{properties.name}, {memory}, {chosen(device)}", True)
    if not torch.cuda.is_available():
        yield Finding("devices", "cuda", "none seen by torch")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", chosen("mps"), True)


def _cpu_engine() -> Finding:
    import torch

    from .encoders.modernbert.cpu.engine import why_not
    from .encoders.modernbert.presets import config_for
    from .encoders.networks import find_kind
    from .encoders.precision import CPU_FEATURES, resolve_precision

    base, cpu = config_for("base"), torch.device("cpu")
    reasons = {precision: why_not(base, precision) for precision in CPU_FEATURES}
    runs = [precision for precision, reason in reasons.items() if reason is None]
    if not runs:
        return Finding("devices", "cpu, ModernBERT", f"runs without its engine: {reasons['fp32']}")
    kind = find_kind(base.to_fields())
    precisions = kind.precisions(base.to_fields(), cpu, None) if kind else ()
    chosen = resolve_precision(None, cpu, precisions)
    return Finding(
        "devices", "cpu, ModernBERT", f"encodes on its engine in {', '.join(runs)}; precision {chosen}", True
    )


def check_attention() -> Iterator[Finding]:
    """Look at the attention back-ends of our own networks, and which one each device and precision gets."""
    from .encoders.modernbert.attention.choose import BACKENDS, choose
    from .encoders.precision import torch_dtype

    places = [(device, precision) for device, precisions in _devices() for precision in precisions]
    chosen = {place: choose(place[0], torch_dtype(place[1])) for place in places}
    for backend in BACKENDS:
        reasons = {place: backend.why_not(place[0], torch_dtype(place[1])) for place in places}
        runs = ", ".join(f"{device} {precision}" for (device, precision), reason in reasons.items() if not reason)
        better = [place for place in places if BACKENDS.index(backend) < BACKENDS.index(chosen[place])]
        curable = any(backend.remedy and backend.remedy in (reasons[place] or "") for place in better)
        found = runs + (", by name only" if backend.only_by_name else "") if runs else str(list(reasons.values())[-1])
        ok = True if runs else False if curable else None
        yield Finding("attention", backend.name, found, ok, backend.remedy if curable else "")
    for (device, precision), backend in chosen.items():
        use = " training" if device.type == "cpu" else ""
        yield Finding("attention", f"chosen for {device} {precision}{use}", backend.name, True)


def _devices() -> "Iterator[tuple[torch.device, tuple[str, ...]]]":
    """Yield each device that torch sees, with the precisions that a network may have there."""
    import torch

    yield torch.device("cpu"), ("fp32", "bf16")
    for number in range(torch.cuda.device_count()):
        yield torch.device("cuda", number), ("fp32", "fp16", "bf16")
    if torch.backends.mps.is_available():
        yield torch.device("mps"), ("fp32", "fp16")


def check_faiss() -> Iterator[Finding]:
    """Look at what the installed FAISS was built with."""
    import faiss

    yield Finding("faiss", "version", faiss.__version__, True)
    yield Finding("faiss", "built for", faiss.get_compile_options().strip() or "generic", True)
    yield Finding("faiss", "threads", str(faiss.omp_get_max_threads()), True)
    mapped = hasattr(faiss, "IO_FLAG_MMAP_IFC")
    remedy = "" if mapped else 'pip install --upgrade "faiss-cpu>=1.13"'
    yield Finding("faiss", "memory-mapped indexes", "yes" if mapped else "no", mapped, remedy)
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    yield Finding("faiss", "GPUs", str(gpus) if gpus else "none, or a build without them", True if gpus else None)


def check_sqlite() -> Iterator[Finding]:
    """Look at the SQLite under the catalog."""
    import sqlite3

    new_enough = sqlite3.sqlite_version_info >= (3, 35)
    remedy = "" if new_enough else "use a Python built with SQLite 3.35 or newer"
    yield Finding("catalog", "SQLite", sqlite3.sqlite_version, new_enough, remedy)


def check_extras() -> Iterator[Finding]:
    """Look at the optional packages."""
    for extra, module in EXTRAS.items():
        present = _has(module)
        remedy = "" if present else f'pip install "modernir[{extra}]"'
        yield Finding("extras", extra, "installed" if present else "not installed", present, remedy)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_versions,
    check_processor,
    check_devices,
    check_attention,
    check_faiss,
    check_sqlite,
    check_extras,
)


def examine() -> list[Finding]:
    """Run every check; one that breaks becomes a finding itself."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check()
        except Exception as error:  # a broken installation is what this command is there to show
            area = check.__name__.removeprefix("check_")
            findings.append(Finding(area, "check", f"failed: {error}", False, "pip install --force-reinstall modernir"))
    return findings


def print_findings(findings: list[Finding]) -> None:
    """Print the findings as a table and the commands that add what is missing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("", "area", "what", "found"):
        table.add_column(column, overflow="fold")
    marks = {True: Text("ok", "green"), False: Text("missing", "red"), None: Text("-", "dim")}
    previous = ""
    for finding in findings:
        area = finding.area if finding.area != previous else ""
        table.add_row(marks[finding.ok], area, finding.name, Text(finding.found))
        previous = finding.area
    console.print(table)
    remedies = list(dict.fromkeys(finding.remedy for finding in findings if finding.remedy))
    if remedies:
        console.print("\nTo add what is missing:")
        for remedy in remedies:
            console.print(f"  {remedy}", markup=False)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
