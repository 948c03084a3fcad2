"""A byte-level BPE tokenizer learnt from texts, framed as BERT's, so that a new model needs no network.

Bytes are the alphabet: no text is ever unknown. How texts are seen before that is a style, see `tokenizer_styles`. What
texts to learn from, and how good a tokenizer is, is for `retrieval.tokenizing` to say.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..bundled import bundled_folder
from ..checkpoint import open_checkpoint
from .tokenizer_styles import style_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
BYTES = 256
VOCABULARY_STEP = 64
"""Matrix products run fastest when the vocabulary is a multiple of this."""
CHARACTERS_A_COUNT = 20_000
"""A piece that always becomes a token is counted once for so many characters, among the commonest thousands."""


def rounded_vocabulary(tokens: int) -> int:
    """Return the smallest multiple of 64 that is at least `tokens`."""
    return -(-tokens // VOCABULARY_STEP) * VOCABULARY_STEP


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, markers: Sequence[str] = (), style: str = "reversible"
) -> "PreTrainedTokenizerFast":
    """Learn a byte-level BPE tokenizer; the same texts in the same order give the same tokenizer.

    Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016), arXiv 1508.07909,
    on bytes.

    Args:
        texts: What to learn from; read once.
        vocabulary: Most tokens to have, special ones included. Few texts give fewer; the result is filled up with
            `[unusedN]` to a multiple of 64.
        markers: Special tokens of the caller's, blanks included.
        style: "reversible" or "folded", see `STYLES`.

    Returns:
        A tokenizer that writes `[CLS] text [SEP]`.

    Raises:
        InputError: There is no such style, or `vocabulary` has no room for the bytes and the special tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    chosen = style_of(style)
    least = BYTES + len(SPECIAL_TOKENS) + len(markers)
    if vocabulary < least:
        raise InputError(f"a vocabulary of {vocabulary} is too small; expected at least {least} tokens")
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    chosen.prepare(tokenizer)
    longest: dict[str, Any] = {"max_token_length": chosen.longest} if chosen.longest else {}
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(markers),
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        **longest,
    )
    tokenizer.train_from_iterator(_and_always(texts, chosen.always), trainer)
    tokenizer.add_special_tokens(list(markers))
    learnt = tokenizer.get_vocab_size()
    tokenizer.add_tokens([f"[unused{number}]" for number in range(rounded_vocabulary(learnt) - learnt)])
    return as_fast_tokenizer(tokenizer)


def _and_always(texts: Iterable[str], pieces: Sequence[str]) -> Iterator[str]:
    characters = 0
    for text in texts:
        characters += len(text)
        yield text
    for piece in pieces:
        yield from [piece] * (2 + characters // CHARACTERS_A_COUNT)


def as_fast_tokenizer(tokenizer: "Tokenizer") -> "PreTrainedTokenizerFast":
    """Put [CLS] before and [SEP] after each text, and tell transformers the special tokens.

    Args:
        tokenizer: Numbers its first tokens as `SPECIAL_TOKENS` does.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """Load a tokenizer for a ModernBERT.

    Raises:
        InputError: See `open_tokenizer`, or it has no padding, start or end token.
    """
    tokenizer = open_tokenizer(name)
    missing = [kind for kind in ("pad_token", "cls_token", "sep_token") if getattr(tokenizer, kind) is None]
    if missing:
        raise InputError(f"{name}: the tokenizer has no {' and no '.join(missing)}, which ModernBERT needs")
    return tokenizer


def open_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """Open any tokenizer of transformers, from a folder, of a bundled model or from a hub.

    Raises:
        InputError: It cannot be loaded.
    """
    from transformers import AutoTokenizer

    folder = _folder_of(name)
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # the hub, the network and the parsers each raise their own
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{name}: not a folder with a tokenizer, and not loadable from a hub ({reason})") from error


def _folder_of(name: str) -> str:
    path = Path(name)
    if (path / "modules.json").is_file():
        return str(open_checkpoint(path).network_folder)
    bundled = None if path.exists() else bundled_folder(name)
    return str(bundled or name)
