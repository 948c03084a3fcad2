"""Amounts of memory as people write them."""

import re

from .errors import InputError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


def parse_bytes(amount: str | int) -> int:
    """Return a number of bytes, given as such or as a string like "512MB", "4 GB" or "1.5GiB".

    Raises:
        InputError: It is no amount.
    """
    if isinstance(amount, int):
        return amount
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise InputError(f"{amount!r} is no amount of memory; write it like 512MB or 4GB")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])
