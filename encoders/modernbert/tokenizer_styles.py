"""How a tokenizer sees texts before it cuts words into tokens, as a table of two styles.

`reversible` loses nothing: it is for language models and for exact code. `folded` loses case and blanks: it is for
retrievers, to which `getUserName2`, `get_user_name 2` and "Get user name 2" are the same words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PIECES = r" ?\p{Lu}?\p{Ll}+| ?\p{Lu}+(?!\p{Ll})| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?= [^\s\p{N}])|\s+"
"""One piece each: a word up to its next capital, a run of capitals, a digit, a run of signs, white space up to the
blank that the next word takes. A line break and the indentation after it are one piece."""
BLANKS = (
    *(" " * count for count in (2, 4, 8, 16)),
    *("\t" * count for count in (2, 4, 8)),
    *("\n" + " " * (4 * level - 1) for level in (1, 2, 3, 4)),
    *("\n" + "\t" * level for level in (1, 2, 3)),
)
"""White space that is one token each: runs, and a line break with four levels of indentation, less the last blank."""
HUMPS = r"(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})"
"""Between small and capital, and before the last capital of a run: `HTTPServer` is two words."""
WORDS = r"\p{L}+|\p{N}{1,2}|[^\s\p{L}\p{N}]+"
LONGEST_FOLDED = 24
"""Bytes of a token: longer ones are chains of signs and joined words that one repository repeats."""


@dataclass(frozen=True)
class Style:
    """One way to see texts.

    Attributes:
        prepare: Gives a tokenizer its normaliser, its pre-tokenizer and its decoder.
        longest: Most bytes of a token that is learnt, or None.
        always: Pieces that become one token each, however rare they are in what is learnt from.
    """

    prepare: Callable[["Tokenizer"], None]
    longest: int | None = None
    always: tuple[str, ...] = ()


def _reversible(tokenizer: "Tokenizer") -> None:
    from tokenizers import Regex, decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()


def _folded(tokenizer: "Tokenizer") -> None:
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(HUMPS), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+|_+"), behavior="removed"),
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()


STYLES = {
    "reversible": Style(_reversible, always=BLANKS),
    "folded": Style(_folded, longest=LONGEST_FOLDED),
}


def style_of(name: str) -> Style:
    """Return a style by its name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in STYLES:
        raise InputError(f"style: no {name!r}; expected one of {', '.join(STYLES)}")
    return STYLES[name]
