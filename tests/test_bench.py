"""Measuring: what is counted is right, texts have the tokens that they claim, a failing variant stops nothing."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.main import get_command

from modernir import cli
from modernir.bench import encode, rounds
from modernir.bench.report import environment, print_outcome, table, to_json
from modernir.bench.rounds import Outcome, Result, Task, run_rounds, smallest_cosine
from modernir.bench.synthetic import save_random_model
from modernir.bench.texts import TextMaker
from modernir.bench.variants import Variant, default_precisions
from modernir.bench.worker import Worker, WorkerError
from modernir.bench.workloads import SHAPES, draw_workload
from modernir.encoders import gemm
from modernir.encoders.bundled import bundled_folder
from modernir.encoders.checkpoint import Checkpoint, open_checkpoint
from modernir.encoders.cost import Cost, cost_of
from modernir.encoders.modernbert.config import ModernBertConfig
from modernir.encoders.modernbert.load import why_no_engine
from modernir.encoders.precision import multiplies
from modernir.errors import InputError, ModernirError

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("random") / "tiny"
    save_random_model(folder, "tiny")
    return open_checkpoint(folder)


def job(code: str) -> tuple[object, str]:
    """Return a loader and its argument that make a job of a lambda, picklable wherever the tests lie."""
    return eval, code


def test_operations_are_those_that_torch_counts(random_model: Checkpoint) -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModel

    network = AutoModel.from_pretrained(random_model.folder, attn_implementation="eager").eval()
    cost = cost_of(random_model.config)
    assert cost is not None
    for length in (1, 7, 65):  # up to 65 tokens a local layer sees everything, so that nothing is in vain
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(input_ids=torch.full((2, length), 9))
        assert counter.get_total_flops() == cost.flops([length, length])


def test_a_window_counts_only_pairs_within_it() -> None:
    for length in (1, 2, 5, 6, 7, 40):
        near = sum(abs(query - key) <= 5 for query in range(length) for key in range(length))
        assert Cost(3, (), (5,)).flops([length]) == 4 * 3 * near
        assert Cost(3, (), (None,)).flops([length]) == 4 * 3 * length**2


def test_a_network_that_is_not_counted_has_no_cost() -> None:
    assert cost_of({"model_type": "mamba", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}) is None
    assert cost_of({"model_type": "bert", "hidden_size": 8}) is None


def test_workloads_follow_their_distributions() -> None:
    drawn = {name: draw_workload(name, 8192, scale=200) for name in ("queries", "passages", "variable256")}
    means = {name: (np.mean(found.lengths), np.std(found.lengths)) for name, found in drawn.items() if found}
    assert means["queries"][0] == pytest.approx(16, rel=0.05)
    assert means["passages"] == (pytest.approx(171, rel=0.05), pytest.approx(80, rel=0.1))
    assert means["variable256"] == (pytest.approx(256, rel=0.05), pytest.approx(64, rel=0.1))


@pytest.mark.parametrize("name", SHAPES)
def test_a_workload_is_the_same_each_time_and_within_the_model(name: str) -> None:
    for longest in (256, 8192):
        workload = draw_workload(name, longest)
        assert workload == draw_workload(name, longest)
        assert (workload is None) == (SHAPES[name].longest > longest)
        if workload is not None:
            assert (len(workload.lengths), workload.batch) == (SHAPES[name].texts, SHAPES[name].batch)
            assert max(workload.lengths) <= longest


def test_bulk_passages_are_neighbours() -> None:
    bulk = draw_workload("bulk", 8192)
    assert bulk is not None
    assert max(bulk.lengths) - min(bulk.lengths) <= 1
    assert np.mean(bulk.lengths) == pytest.approx(171, abs=5)


def test_texts_have_the_tokens_that_were_asked_for(random_model: Checkpoint) -> None:
    maker = TextMaker(random_model)
    lengths = [3, 4, 16, 171, 500]
    assert maker.count(maker.make(lengths, "query"), "query") == lengths
    assert maker.make(lengths, "query") != maker.make(lengths, "query")
    assert TextMaker(random_model).make(lengths, "query") == TextMaker(random_model).make(lengths, "query")


def test_tokens_are_counted_as_sentence_transformers_reads_them(tiny_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint = replace(open_checkpoint(tiny_model), prompts={"document": "apples: "})
    maker = TextMaker(checkpoint)
    texts = maker.make([20, 40, 100], "document")
    network = SentenceTransformer(str(tiny_model), device="cpu")
    mask = network.preprocess([f"apples: {text}" for text in texts])["attention_mask"]
    assert maker.count(texts, "document") == mask.sum(1).tolist() == [20, 40, 64]


def test_the_warm_up_holds_every_word(random_model: Checkpoint) -> None:
    maker = TextMaker(random_model)
    assert sorted(" ".join(maker.warm_up()).split()) == sorted(maker.words)


def test_a_tokenizer_without_whole_words_is_refused(random_model: Checkpoint, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    letters = {letter: number for number, letter in enumerate("abcdefghij")}
    Tokenizer(models.WordLevel(letters, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="keeps no word whole"):
        TextMaker(replace(random_model, folder=tmp_path, modules=()))


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ModernBERT size 'huge'; expected tiny"):
        save_random_model(tmp_path / "model", "huge")


def test_texts_are_handed_over_in_calls() -> None:
    sizes = "lambda request: __import__('numpy').full((len(request[1]), 1), len(request[1]))"
    assert [len(texts) for _, texts in Task("single", "query", ["a"] * 5, [3] * 5, batch=2).requests] == [2, 2, 1]
    with Worker(*job(sizes)) as worker:
        sample = worker.run_all(Task("single", "query", ["a"] * 5, [3] * 5, batch=2).requests)
    assert np.concatenate(sample.value).ravel().tolist() == [2, 2, 2, 2, 1]


@ON_LINUX
def test_a_worker_tells_what_each_run_needed() -> None:
    with Worker(*job("lambda size: len(b'x' * size)")) as worker:
        worker.warm_up(1)
        samples = [worker.run(size) for size in (200_000_000, 1000, 100_000_000)]
    assert [sample.value for sample in samples] == [200_000_000, 1000, 100_000_000]
    assert [round((sample.growth or 0) / 1e8) for sample in samples] == [2, 0, 1]
    assert all((sample.peak or 0) > (sample.growth or 0) for sample in samples)


@ON_LINUX
def test_a_worker_looks_for_garbage_once_a_warm_up_and_not_once_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = (
        "(lambda found: (setattr(__import__('gc'), 'collect', lambda: found.append(0)), lambda _: len(found))[1])([])"
    )
    with Worker(*job(counting)) as worker:
        worker.warm_up(*range(32))
        assert worker.run(None).value == 2


def test_a_worker_has_its_threads() -> None:
    code = "lambda _: (__import__('os').environ['OMP_NUM_THREADS'], __import__('torch').get_num_threads())"
    with Worker(*job(code), threads=3) as worker:
        assert worker.run(None).value == ("3", 3)


def test_a_worker_tells_why_it_failed_and_goes_on() -> None:
    with pytest.raises(WorkerError, match="ZeroDivisionError: division by zero"):
        Worker(*job("1 / 0"))
    with Worker(*job("lambda n: 1 / n if n < 9 else __import__('os')._exit(n)")) as worker:
        with pytest.raises(WorkerError, match="ZeroDivisionError"):
            worker.run(0)
        assert worker.run(2).value == 0.5
        with pytest.raises(WorkerError, match="its process ended with code 9"):
            worker.run(9)


def variant(name: str, code: str, needs: tuple[tuple[str, str], ...] = ()) -> Variant:
    return Variant(name, "fp32", *job(code)[:1], (code,), needs)


def test_rounds_compare_with_the_first_and_survive_failures() -> None:
    pause = "lambda request: (__import__('time').sleep({}), __import__('numpy').array({}))[1]"
    variants = [
        variant("absent", "None", (("no_such_module", "no-such-package"),)),
        variant("slow", pause.format(0.2, "[[3., 4.]]")),
        variant("broken", "1 / 0"),
        variant("fast", pause.format(0.05, "[[4., 3.]]")),
        variant(
            "picky", "lambda request: __import__('numpy').array([[{'query': 3., 'document': 4.}[request[0]]] * 2])"
        ),
    ]
    tasks = [Task("queries", "query", ["a"], [8]), Task("bulk", "document", ["a"], [9])]
    outcome = run_rounds(variants, tasks, ["a"], None, rounds=2, quiet=True)
    found = {(result.workload, result.variant): result for result in outcome.results}
    assert list(found) == [(task.name, name) for task in tasks for name in ("slow", "fast", "picky")]
    assert found["queries", "slow"].ratio == 1
    assert 2 < found["queries", "fast"].ratio < 5
    assert found["queries", "fast"].cosine == pytest.approx(0.96)
    assert found["bulk", "fast"].tokens == 9
    assert found["bulk", "fast"].peak_share is None
    assert {result.reference for result in outcome.results} == {"slow"}
    assert outcome.intended_reference == "absent"
    assert outcome.skipped == [
        ("absent", "not installed: pip install no-such-package"),
        ("broken", "ZeroDivisionError: division by zero"),
    ]


def test_a_variant_that_fails_on_one_workload_is_left_out_of_it_alone() -> None:
    fails = "lambda request: __import__('numpy').ones((1, 2)) if request[0] == 'document' else 1 / 0"
    variants = [variant("good", "lambda request: __import__('numpy').ones((1, 2))"), variant("partial", fails)]
    tasks = [Task("queries", "query", ["a"], [8]), Task("bulk", "document", ["a"], [9])]
    outcome = run_rounds(variants, tasks, ["a"], None, rounds=1, quiet=True)
    names = [(result.workload, result.variant) for result in outcome.results]
    assert names == [("queries", "good"), ("bulk", "good"), ("bulk", "partial")]
    assert outcome.skipped == [("partial, queries", "ZeroDivisionError: division by zero")]


def test_progress_tells_what_is_loaded_and_why_something_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    variants = [variant("broken", "1 / 0"), variant("good", "lambda request: __import__('numpy').ones((1, 2))")]
    run_rounds(variants, [Task("queries", "query", ["a"], [8])], ["a"], None, rounds=1)
    told = capsys.readouterr().err.splitlines()
    assert told[:4] == [
        "bench: loading broken",
        "bench: not measured: broken: ZeroDivisionError: division by zero",
        "bench: loading good",
        "bench: queries: 1 texts, 8 tokens a round",
    ]


def test_the_smallest_cosine_is_over_rows() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert smallest_cosine(rows, np.array([[2.0, 0.0], [1.0, 0.0]])) == pytest.approx(np.sqrt(0.5))


def test_a_gemm_rate_counts_every_matrix_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "_time", lambda kernel, device: 1e-3)
    assert gemm.measure_gemm("fp32", [(64, 32), (32, 16)], "cpu") == pytest.approx(
        2 * 512 * (64 * 32 + 32 * 16) / 2e-3 / 1e9
    )


def test_a_device_without_the_product_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kernel: object, device: str) -> float:
        raise NotImplementedError

    monkeypatch.setattr(gemm, "_time", refuse)
    assert gemm.measure_gemm("int8", [(64, 32)], "cpu") is None


def test_a_table_is_aligned_markdown() -> None:
    assert table([("a", "bcd"), ("12", "3")]) == ["| a  | bcd |", "|----|-----|", "| 12 | 3   |"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["modernir", "bench", "encode", *arguments])
    try:
        cli.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_the_command_measures_a_model_beside_sentence_transformers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--precision", "fp32", "--rounds", "1", "--scale", "0.1", "--threads", "1", "--device", "cpu"]
    assert call(monkeypatch, "--model", str(tiny_model), "--workload", "queries,fixed512", *settings, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    rows = report["results"]
    assert [row["variant"] for row in rows] == ["sentence-transformers fp32", "modernir fp32"]
    assert rows[1]["cosine"] > 0.99999
    assert rows[0]["texts"] == 10
    assert all(0 < row["peak_share"] < 1.5 and len(row["seconds"]) == 1 for row in rows)
    assert report["skipped"] == [{"what": "fixed512", "why": "the model reads 64 tokens of a text"}]
    assert report["threads"] == 1
    assert report["intended_reference"] == rows[0]["reference"] == rows[1]["reference"] == "sentence-transformers fp32"
    assert report["gemm_gflops"]["fp32"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workload", "tweets"], "unknown workload 'tweets'; expected one of queries"),
        (["--workload", ","], "no workload given; expected one of queries"),
        (["--precision", "fp32,int3"], "unknown precision 'int3'; expected one of fp32"),
        (["--init", "huge"], "no ModernBERT size 'huge'"),
        (["--model", "/no/such/model"], "/no/such/model: no such folder"),
        (["--model", "TINY", "--device", "cpu", "--precision", "fp32,fp16"], "fp16 is for GPUs"),
        (["--model", "TINY", "--device", "cpu", "--precision", "int8"], "runs itself; leave int8 out"),
        (["--model", "TINY", "--attention", "plain"], "leave the attention back-end 'plain' out"),
        (["--model", "RANDOM", "--attention", "nope"], "unknown attention back-end 'nope'"),
        (
            ["--model", "RANDOM", "--device", "cpu", "--precision", "int8", "--attention", "plain"],
            "int8 is not to be had",
        ),
    ],
)
def test_bad_input_is_one_line_before_a_process_is_started(
    arguments: list[str],
    told: str,
    tiny_model: Path,
    random_model: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(rounds, "Worker", None)
    places = {"TINY": str(tiny_model), "RANDOM": str(random_model.folder)}
    assert call(monkeypatch, *(places.get(argument, argument) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert told in captured.err.splitlines()[-1]
    assert captured.out == ""


def test_a_run_that_measured_nothing_fails(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--precision", "fp32", "--against", "nothing", "--device", "cpu"]
    assert call(monkeypatch, "--model", str(tiny_model), "--workload", "fixed512", *settings) == 1
    captured = capsys.readouterr()
    told = "error: nothing was measured; fixed512: the model reads 64 tokens of a text"
    assert captured.err.splitlines()[-1] == told
    assert captured.out == ""


def test_a_run_without_this_package_prints_the_peer_and_fails(
    random_model: Checkpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = variant("sentence-transformers fp32", "lambda request: __import__('numpy').ones((len(request[1]), 2))")
    monkeypatch.setattr(encode, "peer_variants", lambda *_: [peer])
    monkeypatch.setattr(encode, "own_variants", lambda *_: [variant("modernir fp32", "1 / 0")])
    settings = ["--workload", "queries", "--rounds", "1", "--scale", "0.1", "--precision", "fp32", "--device", "cpu"]
    assert call(monkeypatch, "--model", str(random_model.folder), *settings) == 1
    captured = capsys.readouterr()
    assert "| sentence-transformers fp32 |" in captured.out
    assert captured.err.splitlines()[-1] == (
        "error: modernir was not measured; modernir fp32: ZeroDivisionError: division by zero"
    )


def test_peers_are_given_the_folder_of_a_bundled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Variant] = []

    def measure(model: str, variants: list[Variant], *_: object) -> Outcome:
        found.extend(variants)
        return Outcome(results=[Result("queries", "ours", "fp32", 1, 9, (1.0,), 1.0, None, 1.0, None, "ours")])

    monkeypatch.setattr(encode, "measure", measure)
    encode.bench_encode("modernir-mini-dense", encode.Settings.parse("queries", quiet=True))
    assert {Path(str(variant.arguments[0])) for variant in found} == {bundled_folder("modernir-mini-dense")}
    assert "sentence-transformers fp32" in {variant.name for variant in found}


def test_only_precisions_that_a_model_has_are_measured(tiny_model: Path, random_model: Checkpoint) -> None:
    assert "int8" not in default_precisions(open_checkpoint(tiny_model), "cpu")
    assert "int8" not in default_precisions(random_model, "cpu", "plain")
    has_int8 = why_no_engine(ModernBertConfig.from_fields(random_model.config, "config.json"), "int8") is None
    expected = has_int8 and multiplies("int8", torch.device("cpu"))
    assert ("int8" in default_precisions(random_model, "cpu")) == expected
    assert default_precisions(random_model, "cpu")[0] == "fp32"


def test_the_command_lists_the_workloads_that_there_are() -> None:
    (option,) = (
        option
        for option in get_command(cli.app).commands["bench"].commands["encode"].params
        if option.name == "workload"
    )
    assert re.findall(r"[a-z]+\d*(?=[,.])", option.help.split(" of ")[1]) == list(SHAPES)


def test_a_reference_that_is_not_the_intended_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result("queries", "modernir fp32", "fp32", 1, 9, (1.0,), 1.0, None, 1.0, None, "modernir fp32")
    about = environment("m", "cpu", None)
    print_outcome(Outcome(results=[result], intended_reference="peer"), about)
    told = "ratios and cosines refer to modernir fp32"
    assert f"\nwarning: {told}, since peer was not measured\n" in capsys.readouterr().out
    print_outcome(Outcome(results=[result], intended_reference="modernir fp32"), about)
    assert f"\n{told}\n" in capsys.readouterr().out


def test_what_must_be_among_the_results_is_looked_for() -> None:
    result = Result("queries", "peer fp32", "fp32", 1, 9, (1.0,), 1.0, None, 1.0, None, "peer fp32")
    outcome = Outcome(results=[result], skipped=[("peer bf16", "no"), ("modernir fp32", "damaged")])
    outcome.require()
    outcome.require("peer")
    with pytest.raises(ModernirError, match=r"^modernir was not measured; modernir fp32: damaged$"):
        outcome.require("modernir")
    with pytest.raises(ModernirError, match=r"^nothing was measured; no workload$"):
        Outcome().require()


def test_broken_embeddings_leave_the_json_valid() -> None:
    result = Result("queries", "ours", "fp32", 1, 9, (2.0, 1.0, 4.0), 1.0, None, float("nan"), None, "ours")
    (row,) = to_json(Outcome(results=[result]), {})["results"]
    assert (row["cosine"], row["median_seconds"], row["tokens_per_second"]) == (None, 2.0, 4.5)


def test_what_was_skipped_is_told_with_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(Outcome(skipped=[("peer", "not installed: pip install peer")]), environment("m", "cpu", None))
    assert "not measured: peer: not installed: pip install peer" in capsys.readouterr().out
