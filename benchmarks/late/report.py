"""The outcome as Markdown tables and as JSON; "batch q/s" is for `measure.BATCH` queries in one call."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from modernir.bench.report import NOT_KNOWN, table

from .cached import Collection
from .measure import Outcome
from .quality import Scored, matching
from .system import Setting

OURS = "modernir"
MEGABYTE = 1e6
BUSY = 1.1
"""Wall by processor time from which the machine was too busy for the figures to be believed."""


def scored(outcome: Outcome, collections: dict[str, Collection]) -> list[Scored]:
    """Put tracks and collections together."""
    return [Scored(track, collections[track.size], len(track.seconds)) for track in outcome.tracks if track.seconds]


def to_json(outcome: Outcome, results: Sequence[Scored], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON values; what was found is left out, the recall of it stays."""
    tracks = []
    for result in results:
        values = asdict(result.track)
        del values["found"]
        r10, r100 = result.recalls
        found = {
            "p50_ms": result.p50,
            "p95_ms": result.p95,
            "processor_ms": result.processor,
            "recall@10": r10,
            "recall@100": r100,
        }
        tracks.append(values | found | {"ndcg@10": result.ndcg, "exact_ndcg@10": result.exact_ndcg})
    failures = [{"what": what, "why": why} for what, why in outcome.failures]
    return about | {"searches": tracks, "facts": outcome.facts, "failures": failures}


def report(outcome: Outcome, results: Sequence[Scored]) -> str:
    """Return all tables."""
    lines = []
    for size, threads in dict.fromkeys((result.track.size, result.track.threads) for result in results):
        here = [result for result in results if (result.track.size, result.track.threads) == (size, threads)]
        collection = here[0].collection
        about = f"{collection.tokens:,} tokens, {len(collection.documents):,} documents, {threads} thread(s)"
        lines += ["", f"{size}: {about}", "", *search_table(here)]
        equal = list(equal_rows(here))
        lines += ["", "At equal recall, on the peer's queries:", "", *table([EQUAL, *equal])] if equal else []
    lines += ["", *table([FACTS, *fact_rows(outcome, results)])]
    lines += [f"\nnot measured: {what}: {why}" for what, why in outcome.failures]
    waited = max((result.p50 / result.processor for result in results if result.track.threads == 1), default=1.0)
    if waited > BUSY:
        lines += [f"\nwarning: the machine was busy: a query took up to {waited:.1f} times its processor time"]
    return "\n".join(lines) + "\n"


SEARCH = ("system", "setting", "queries", "p50 ms", "p95 ms", "CPU ms", "R@10", "R@100", "nDCG@10 (exact)", "batch q/s")
EQUAL = ("peer", "p50 ms", "R@10 / R@100", "modernir", "p50 ms", "R@10 / R@100", "ratio", "of CPU ms")
FACTS = (
    "system",
    "size",
    "build s (CPU)",
    "bytes/token",
    "build peak MB",
    "open ms (CPU)",
    "first query ms (CPU)",
    "resident MB (anonymous)",
    "peak MB",
    "add 100, s",
    "delete 100, s",
)


def search_table(results: Sequence[Scored]) -> list[str]:
    """Return the table of latency and recall."""
    rows = []
    for result in results:
        r10, r100 = result.recalls
        batch = result.track.batch
        rows.append(
            (
                result.track.system,
                setting_name(result.track.setting),
                str(result.queries),
                f"{result.p50:,.2f}",
                f"{result.p95:,.2f}",
                f"{result.processor:,.2f}",
                f"{r10:.3f}",
                f"{r100:.3f}",
                f"{result.ndcg:.4f} ({result.exact_ndcg:.4f})",
                NOT_KNOWN if batch is None else f"{batch:,.1f}",
            )
        )
    return table([SEARCH, *rows])


def equal_rows(results: Sequence[Scored]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each peer's setting that one of ours matches in recall."""
    own = [result for result in results if result.track.system.startswith(OURS)]
    for peer in results:
        if peer in own:
            continue
        match = matching(peer, own)
        ours = (NOT_KNOWN,) * 5
        if match is not None:
            ratios = (f"{peer.p50 / match.p50:,.1f}", f"{peer.processor / match.processor:,.1f}")
            ours = (name_of(match), f"{match.p50:,.2f}", recalls_of(match), *ratios)
        yield (name_of(peer), f"{peer.p50:,.1f}", recalls_of(peer), *ours)


def fact_rows(outcome: Outcome, results: Sequence[Scored]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each index: build, memory, opening, adding and deleting, with one thread."""
    tokens = {result.track.size: result.collection.tokens for result in results}
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for fact in outcome.facts:
        if fact.get("threads", 1) == 1:
            merged.setdefault((fact["system"], fact["size"]), {}).update(fact)
    for (system, size), fact in merged.items():
        build, opened, searching = fact["build"], fact.get("open"), fact.get("searching")
        yield (
            system,
            size,
            f"{build['seconds']:,.1f} ({build['processor']:,.1f})",
            f"{build['bytes'] / tokens[size]:,.1f}" if size in tokens else NOT_KNOWN,
            f"{build['peak'] / MEGABYTE:,.0f}",
            milliseconds(opened) if opened else NOT_KNOWN,
            milliseconds(opened["first"]) if opened else NOT_KNOWN,
            megabytes(searching["resident"], searching["anonymous"]) if searching else NOT_KNOWN,
            megabytes(searching["peak"]) if searching else NOT_KNOWN,
            *(seconds(fact[do]) if do in fact else NOT_KNOWN for do in ("add", "delete")),
        )


def seconds(rounds: Sequence[dict[str, float]]) -> str:
    """Return the median and the range of some rounds."""
    values = [found["seconds"] for found in rounds]
    return f"{median(values):.4f} ({min(values):.4f}-{max(values):.4f})"


def milliseconds(found: dict[str, float]) -> str:
    """Return wall time, with processor time in brackets."""
    return f"{found['seconds'] * 1e3:,.0f} ({found['processor'] * 1e3:,.0f})"


def megabytes(size: int, of_these: int | None = None) -> str:
    """Return bytes as megabytes, with a part of them in brackets."""
    return f"{size / MEGABYTE:,.0f}" + ("" if of_these is None else f" ({of_these / MEGABYTE:,.0f})")


def name_of(result: Scored) -> str:
    """Return system and setting."""
    return f"{result.track.system}, {setting_name(result.track.setting)}"


def setting_name(setting: Setting) -> str:
    """Return a setting as text."""
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "default"


def recalls_of(result: Scored) -> str:
    """Return both recalls."""
    return " / ".join(f"{value:.3f}" for value in result.recalls)
