"""What the tables say, whatever the format: figures as text, commands, costs, and the notes that explain them.

Notes are paragraphs of plain text in which `code` stands between backticks.
"""

import shlex
from collections.abc import Iterator, Sequence

from modernir.encoders.checkpoint import open_checkpoint
from modernir.eval.comparing.comparison import Row

from .saved import Saved, Table
from .systems import IN_DOMAIN, LONG, NEAR, OVERLAP, System

DIGITS = 3
IN_DOMAIN_MARK = "°"
RESULTS = "results"
"""What shown commands call the folder of results."""
COST_HEADS = ("documents/s", "p50 ms", "p95 ms", "vectors, MB", "index, MB", "recall of exact")


def figure(value: float) -> str:
    """Return a mean as it is shown."""
    return f"{value:.{DIGITS}f}"


def set_label(table: Table, name: str) -> str:
    """Return a set's name, with its split where that is not `test`."""
    split = next(one.split for one in table.comparison.sets if one.name == name)
    return name if split == "test" else f"{name} ({split})"


def in_domain(system: System, one: str) -> str:
    """Return the mark of a figure on a set that the system's model was trained for."""
    return IN_DOMAIN_MARK if one in IN_DOMAIN.get(system.model, {}) else ""


def command(system: System, one: str) -> str:
    """Return the command of one figure, to be typed in the folder of the data."""
    return shlex.join(["modernir", *system.command(one.split("/")[0], [one], RESULTS)])


def summary(table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield the counts of target sets won: a label, and a cell for each system."""
    names, count = table.comparison.systems, len(table.targets)
    numbers = range(1, len(names))
    if not count:
        return
    wins = [table.wins(number) for number in numbers]
    cells = [f"{one.above} ({one.better}▲ {one.worse}▼)" for one in wins]
    yield f"of {count} targets, above {names[0]}", ["", *cells]
    if "BM25" in names[1:]:
        other = names.index("BM25")
        rows = [table.rows[name] for name in table.targets]
        above = [str(sum(row.means[number] > row.means[other] for row in rows)) for number in range(len(names))]
        above[other] = ""
        yield f"of {count} targets, above BM25", above


def means(table: Table) -> list[tuple[str, Row]]:
    """Return the rows of means: of the target sets, and of all."""
    found = [(f"mean of {len(table.targets)} targets", table.mean)] if table.mean else []
    rest = table.comparison.rows[len(table.comparison.sets) :]
    every = [(row.name, row) for row in rest if len(table.targets) < len(table.comparison.sets)]
    return [(name, row) for name, row in (*found, *every) if row is not None]


def cost_rows(saved: Saved, one: str) -> list[tuple[str, list[str]]]:
    """Return each system's title and costs on a set, in the order of `COST_HEADS`; empty where not measured."""
    rows = []
    for system in saved.systems:
        costs = saved.reports[system.key, one].costs
        megabytes = [_shown(costs.get(f"{name}_bytes"), 1e-6, 1) for name in ("vector", "index")]
        times = [_shown(costs.get(name), 1, 1) for name in ("documents_per_second", "p50_ms", "p95_ms")]
        recall = _shown(costs.get("exact_recall@10"), 1, DIGITS)
        rows.append((system.title, [*times, *megabytes, recall]))
    return rows


def notes(saved: Saved, machine: str) -> list[str]:
    """Return the paragraphs that say what the figures are and what they are not."""
    table = next(iter(saved.tables.values()))
    baseline = table.comparison.baseline
    return [
        f"Every figure is a mean over all judged queries, by trec_eval's definitions; below it is its 95 % interval. "
        f"▲ and ▼: significantly better or worse than {baseline} (corrected p of the randomization test below "
        f"{table.comparison.alpha:g}); without a mark, the queries do not tell the two apart. Bold: the best of a row. "
        f"{table.comparison.method}.",
        _splits(table),
        _trained(saved),
        *_reading(saved),
        f"Computed on {machine}, without a GPU, in each model's default precision ({_precisions(saved)}); every index "
        "is as `modernir index` makes it by itself, so that what compression and probing lose is in the figures.",
    ]


def commands_note() -> str:
    """Return the paragraph before the commands."""
    return (
        "Each is typed in the folder that holds `beir`, `code` and `longdoc`. `benchmarks/results.py` runs the same, "
        "all sets of a group at once and with `--index-folder`, so that the systems of one model share its indexes; "
        "neither changes a figure."
    )


def cost_note(saved: Saved, one: str) -> str:
    """Return the paragraph before the costs."""
    counts = saved.reports[saved.systems[0].key, one].counts
    return (
        f"On {one}, {counts['documents']:,} documents, as measured by the evaluations above: documents encoded a "
        "second; a query alone, from its text to 100 results; the files of the index without the texts and whole; the "
        "share of the exact 10 best by vectors that the search by vectors finds."
    )


def _splits(table: Table) -> str:
    others: dict[str, list[str]] = {}
    for one in table.comparison.sets:
        if one.split != "test":
            others.setdefault(one.split, []).append(one.name)
    told = "".join(f", but for the split {split} of {_listed(names)}" for split, names in others.items())
    return f"Splits: `test`{told}."


def _trained(saved: Saved) -> str:
    known: dict[tuple[str, ...], list[str]] = {}
    near: dict[str, list[str]] = {}
    for model in dict.fromkeys(system.model for system in saved.systems if system.model):
        if model in NEAR:
            near.setdefault(NEAR[model], []).append(model)
        reasons: dict[str, list[str]] = {}
        for one, reason in IN_DOMAIN.get(model, {}).items():
            if one in saved.sets:
                reasons.setdefault(reason, []).append(one)
        for reason, sets in reasons.items():
            known.setdefault((reason, *sets), []).append(model)
    zero_shot = "no model was trained on the training part of the set, nor chosen by its judgements"
    told = "; ".join(f"{_listed(models)} on {_listed(sets)}: {reason}" for (reason, *sets), models in known.items())
    beginning = f"{IN_DOMAIN_MARK} in-domain: {told}. All others" if known else "All figures"
    beside = "".join(f" {_listed(models)} {what}." for what, models in near.items())
    return f"{beginning} are zero-shot: {zero_shot}.{beside}"


def _reading(saved: Saved) -> list[str]:
    lengths, windows = {}, {}
    for system in saved.systems:
        if system.model:
            report = saved.reports[system.key, saved.sets[0]]
            lengths[system.model] = open_checkpoint(report.model).length_of("document")
            windows[system.model] = system.windows
    if not lengths:
        return []
    cut = "; ".join(f"{model} {length:,}" for model, length in lengths.items())
    text = f"Tokens read of a document: {cut}; the rest is cut. BM25 reads all of it."
    whole = [model for model, has in windows.items() if has]
    if whole and any(one.startswith(f"{LONG}/") for one in saved.sets):
        text += (
            f" In {LONG}, {_listed(whole)} reads whole documents, as windows of that length that share {OVERLAP} "
            f"tokens (`--overlap {OVERLAP}`): every token of the document has its vector, and MaxSim takes the best of "
            "all windows. It costs the encoding and the bytes of all tokens. Models of one vector a text have no "
            "windows, and see no more than the beginning there."
        )
    return [text]


def _precisions(saved: Saved) -> str:
    found = {
        system.model: saved.reports[system.key, saved.sets[0]].settings["precision"]
        for system in saved.systems
        if system.model
    }
    return ", ".join(f"{model} {precision}" for model, precision in found.items()) or "no model"


def _shown(value: float | None, scale: float, digits: int) -> str:
    return "" if value is None else f"{value * scale:,.{digits}f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
