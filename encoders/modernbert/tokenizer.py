"""A small byte-level BPE tokenizer learnt from the training texts, so that a new model needs no network.

Bytes are the alphabet: no text is ever unknown. Words are cut at the humps of camelCase and digits stand alone, so that
`getUserName2` in code and "user name" in prose share their pieces. It is trained on a sample; a tokenizer that
ships, measured on text and code, is another matter.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
BYTES = 256
VOCABULARY_STEP = 64
"""Matrix products run fastest when the vocabulary is a multiple of this."""
HUMPS = r" ?\p{Lu}?\p{Ll}+| ?\p{Lu}+(?!\p{Ll})| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""One piece each: a word up to its next capital, a run of capitals, a digit, a run of signs, white space."""


def rounded_vocabulary(tokens: int) -> int:
    """Return the smallest multiple of 64 that is at least `tokens`."""
    return -(-tokens // VOCABULARY_STEP) * VOCABULARY_STEP


def train_tokenizer(texts: Iterable[str], vocabulary: int, markers: Sequence[str] = ()) -> "PreTrainedTokenizerFast":
    """Learn a byte-level BPE tokenizer; the same texts give the same tokenizer.

    Args:
        texts: What to learn from; read once.
        vocabulary: Most tokens to have, special ones included. Few texts give fewer; the result is filled up with
            `[unusedN]` to a multiple of 64.
        markers: Special tokens of the caller's, blanks included.

    Returns:
        A tokenizer that writes `[CLS] text [SEP]`.

    Raises:
        InputError: `vocabulary` has no room for the bytes and the special tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    least = BYTES + len(SPECIAL_TOKENS) + len(markers)
    if vocabulary < least:
        raise InputError(f"a vocabulary of {vocabulary} is too small; expected at least {least} tokens")
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(HUMPS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(markers),
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(markers))
    learnt = tokenizer.get_vocab_size()
    tokenizer.add_tokens([f"[unused{number}]" for number in range(rounded_vocabulary(learnt) - learnt)])
    return as_fast_tokenizer(tokenizer)


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
    """Load a tokenizer from a folder or a hub.

    Raises:
        InputError: It cannot be loaded, or has no padding, start or end token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # the hub, the network and the parsers each raise their own
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{name}: not a folder with a tokenizer, and not loadable from a hub ({reason})") from error
    missing = [kind for kind in ("pad_token", "cls_token", "sep_token") if getattr(tokenizer, kind) is None]
    if missing:
        raise InputError(f"{name}: the tokenizer has no {' and no '.join(missing)}, which ModernBERT needs")
    return tokenizer
