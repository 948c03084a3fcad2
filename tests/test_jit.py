"""Compiled kernels work where numba cannot keep them."""

from collections.abc import Callable

import pytest
from numba import njit

from modernir.jit import compile


def test_kernels_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> Callable:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function 'double': no locator available")
        return njit(**options)

    monkeypatch.setattr(compile, "njit", refuse)

    @compile.compiled()
    def double(x: float) -> float:
        return 2 * x

    assert double(1.5) == 3
