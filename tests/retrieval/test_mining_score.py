"""A teacher's scores are those that sentence-transformers gives, whatever the kind of model and the blocks."""

import json
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from modernir.encoders.loading import load_encoder
from modernir.errors import InputError
from modernir.maxsim.scores import maxsim
from modernir.retrieval.mining import score as score_module
from modernir.retrieval.mining.score import Scoring, score_examples
from modernir.retrieval.mining.teachers import Asked, EncoderTeacher, load_teacher
from modernir.retrieval.readers.examples import read_examples

EXAMPLES = [
    {"query": "red apples", "positive": "Red apples grow on old trees.", "negatives": ["A ship.", "Green pears."]},
    {"query": "red apples", "positive": "Apples.", "negative": "A ship."},
    {"query": "sour lemons", "positive": "Yellow lemons are sour.", "negatives": []},
    {"query": "a ship", "positive": "A ship.", "negative_1": "Bread is baked.", "negative_2": "Red apples."},
]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in EXAMPLES))
    return path


@pytest.fixture(scope="module")
def cross_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of pairs with random weights, as transformers saves one."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(vocab_size=400, num_labels=1, **shape)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def written(output: Path) -> list[dict]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_a_dense_teacher_gives_cosines(examples: Path, tiny_model: Path, tmp_path: Path) -> None:
    file, said = score_examples(
        Scoring((str(examples),), str(tiny_model), tmp_path / "out.jsonl", device="cpu", precision="fp32"), True
    )
    model = SentenceTransformer(str(tiny_model), device="cpu")
    for row, example in zip(written(file), read_examples(examples), strict=True):
        assert (row["query"], row["positive"], tuple(row["negatives"])) == (
            example.query,
            example.positive,
            example.negatives,
        )
        theirs = model.similarity(model.encode([row["query"]]), model.encode([row["positive"], *row["negatives"]]))
        assert row["scores"] == pytest.approx(theirs[0].tolist(), abs=1e-5)
    assert said.startswith("4 examples, 9 documents scored; the positive is best in ")
    assert [len(example.scores) for example in read_examples(file)] == [3, 2, 1, 3]


def test_a_colbert_gives_maxsim(examples: Path, tiny_colbert: Path, tmp_path: Path) -> None:
    file, _ = score_examples(
        Scoring((str(examples),), str(tiny_colbert), tmp_path / "out.jsonl", device="cpu", precision="fp32"), True
    )
    encoder = load_encoder(tiny_colbert, device="cpu", kind="late", precision="fp32")
    for row in written(file):
        documents = encoder.encode_documents([row["positive"], *row["negatives"]])
        assert row["scores"] == pytest.approx(maxsim(encoder.encode_queries([row["query"]]), documents)[0], abs=1e-4)


@pytest.mark.parametrize("form", ["transformers", "sentence-transformers"])
def test_a_cross_encoder_is_recognised_and_gives_logits(
    examples: Path, cross_encoder: Path, tmp_path: Path, form: str
) -> None:
    model = CrossEncoder(str(cross_encoder), device="cpu")
    folder = cross_encoder
    if form == "sentence-transformers":
        folder = tmp_path / "saved"
        model.save_pretrained(str(folder))
    file, _ = score_examples(
        Scoring((str(examples),), str(folder), tmp_path / "out.jsonl", device="cpu", precision="fp32"), True
    )
    for row in written(file):
        pairs = [(row["query"], text) for text in (row["positive"], *row["negatives"])]
        logits = model.predict(pairs, activation_fn=torch.nn.Identity())
        assert row["scores"] == pytest.approx(logits.tolist(), abs=1e-5)


def test_every_distinct_text_is_encoded_once(hash_encoder: type) -> None:
    encoder = hash_encoder(block_size=2)
    asked = [Asked("a", ["x", "y"]), Asked("b", []), Asked("a", ["y", "z", "y"])]
    scores = EncoderTeacher(encoder).score(asked)
    assert encoder.seen == ["x", "y", "z"]
    assert [len(row) for row in scores] == [2, 0, 3]
    assert scores[0][1] == scores[2][0] == scores[2][2]


def test_scoring_goes_on_after_a_cut_with_the_same_teacher_only(
    examples: Path, tiny_model: Path, other_tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(name: str, model: Path = tiny_model) -> Scoring:
        return Scoring((str(examples),), str(model), tmp_path / name, block=1, device="cpu", precision="fp32")

    whole, _ = score_examples(settings("whole.jsonl"), True)
    seen: list[str] = []
    scored = score_module.scored

    def cut(teacher: object, asked: list) -> object:
        if len(seen) == 3:
            seen.append("cut")
            raise KeyboardInterrupt
        seen.append(asked[0].documents[0])
        return scored(teacher, asked)

    monkeypatch.setattr(score_module, "scored", cut)
    with pytest.raises(KeyboardInterrupt, match="3 examples are kept"):
        score_examples(settings("cut.jsonl"), True)
    with pytest.raises(InputError, match=r"an unfinished run with other settings.*model was"):
        score_examples(settings("cut.jsonl", other_tiny_model), True)
    file, _ = score_examples(settings("cut.jsonl"), True)
    assert file.read_bytes() == whole.read_bytes()
    assert seen == [*(row["positive"] for row in EXAMPLES[:3]), "cut", EXAMPLES[3]["positive"]]


def test_a_classifier_of_several_labels_is_no_teacher(cross_encoder: Path, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(vocab_size=400, num_labels=3, **shape)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="gives a pair 3 numbers, where one score is expected"):
        load_teacher(str(tmp_path), "cpu")
    with pytest.raises(InputError, match="a cross-encoder runs in fp32; leave out the precision bf16"):
        load_teacher(str(cross_encoder), "cpu", "bf16")
