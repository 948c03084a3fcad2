"""The doctor tells what there is, names what is missing with its cure, and survives what is broken."""

import builtins
import importlib.util
import json
import sys
from collections.abc import Iterator

import pytest
import torch

from modernir import cli, doctor
from modernir.doctor import Finding, examine, print_findings


def test_every_area_is_looked_at() -> None:
    findings = examine()
    areas = {finding.area for finding in findings}
    assert areas == {"versions", "processor", "devices", "attention", "faiss", "catalog", "extras"}
    named = {(finding.area, finding.name): finding for finding in findings}
    assert named["versions", "torch"].found.startswith("2.")
    assert named["devices", "cpu"].ok is True
    assert "failed" not in " ".join(finding.found for finding in findings)


def test_what_is_missing_has_a_cure() -> None:
    assert all(finding.remedy for finding in examine() if finding.ok is False)


def test_attention_backends_are_listed_with_where_they_run_or_why_they_do_not() -> None:
    from modernir.encoders.modernbert.attention.choose import BACKENDS

    findings = {finding.name: finding for finding in doctor.check_attention()}
    assert all(backend.name in findings for backend in BACKENDS)
    assert "cpu fp32" in findings["padded"].found
    assert findings["chosen for cpu fp32 training"].found == "blockwise"
    if not torch.cuda.is_available():
        assert (findings["varlen"].found, findings["varlen"].ok) == ("needs a CUDA device", None)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA device that is not there, of a torch whose varlen_attn has no windows, without flash-attn."""
    from modernir.encoders.modernbert.attention import choose, flash, flex, varlen

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(varlen, "_varlen_attn", lambda: lambda query, key, value: query)
    monkeypatch.setattr(flash, "installed", lambda module: False)
    monkeypatch.setattr(flex, "installed", lambda module: True)
    monkeypatch.setattr(choose, "_fault", lambda backend, device, dtype: None)
    choose.choose.cache_clear()


def test_a_better_attention_backend_that_could_be_installed_is_told_with_its_command(one_gpu: None) -> None:
    findings = {finding.name: finding for finding in doctor.check_attention()}
    assert findings["chosen for cuda:0 bf16"].found == "flex"
    for name, command in (("varlen", "pip install --upgrade torch"), ("flash-attn", "modernir[gpu]")):
        assert findings[name].ok is False
        assert command in findings[name].remedy
    assert (findings["varlen-fa3"].ok, findings["varlen-fa3"].remedy) == (None, "")


def test_no_package_is_asked_for_where_a_better_backend_runs(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from modernir.encoders.modernbert.attention import varlen

    monkeypatch.setattr(varlen, "_varlen_attn", lambda: lambda query, window_size: query)
    findings = {finding.name: finding for finding in doctor.check_attention()}
    assert findings["chosen for cuda:0 bf16"].found == "varlen"
    assert findings["varlen"].ok is True
    assert (findings["flash-attn"].ok, findings["flash-attn"].remedy) == (None, "")


def run_doctor(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["modernir", "doctor", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert not leaving.value.code


def test_the_table_and_the_json_say_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run_doctor(monkeypatch)
    table = capsys.readouterr().out
    run_doctor(monkeypatch, "--json")
    findings = json.loads(capsys.readouterr().out)
    assert set(findings[0]) == {"area", "name", "found", "ok", "remedy"}
    assert all(finding["name"] in table for finding in findings)


def test_a_check_that_fails_becomes_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_broken() -> Iterator[Finding]:
        yield Finding("broken", "first", "fine", True)
        raise RuntimeError("libfoo.so.1: cannot open")

    monkeypatch.setattr(doctor, "CHECKS", (check_broken, doctor.check_sqlite))
    findings = examine()
    assert [finding.area for finding in findings] == ["broken", "broken", "catalog"]
    assert (findings[1].found, findings[1].ok) == ("failed: libfoo.so.1: cannot open", False)
    assert findings[1].remedy


def test_a_library_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without_faiss(name: str, *args: object, **kwargs: object) -> object:
        if name == "faiss":
            raise ImportError("libfaiss.so: no such file")
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_faiss)
    findings = {finding.area: finding for finding in examine()}
    assert findings["faiss"].found == "failed: libfaiss.so: no such file"
    assert findings["faiss"].ok is False


def test_a_missing_extra_is_told_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else find(name))
    findings = list(doctor.check_extras())
    assert ("lora", "not installed", False) in {(finding.name, finding.found, finding.ok) for finding in findings}
    assert 'pip install "modernir[lora]"' in {finding.remedy for finding in findings}
    print_findings(findings)
    output = capsys.readouterr().out
    assert "missing" in output
    assert 'pip install "modernir[lora]"' in output
