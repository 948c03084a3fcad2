"""A ColBERT that is about to be written in another format: how it reads, and its markers, whichever way it has them.

Two formats put a marker in as a token; sentence-transformers puts a text before the query or document, which the
tokenizer makes the marker of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from ...checkpoint import TASKS, Checkpoint
from ...reading import open_tokenizer
from ..reading import marker_token
from ..settings import ColbertSettings

NAMES = {"query": "[Q] ", "document": "[D] "}
"""Markers that a tokenizer gets where the checkpoint marks texts with words that it also reads in texts."""


@dataclass(frozen=True)
class Marker:
    """The token after the first of every text of a task.

    Attributes:
        token: As the tokenizer spells it, or is to spell it.
        id: Its number.
        prompt: Text between it and the query or document.
        copied: Number of the token whose embedding it gets; None where the tokenizer has the marker already.
    """

    token: str
    id: int
    prompt: str
    copied: int | None = None


@dataclass(frozen=True)
class Source:
    """What is converted.

    Attributes:
        checkpoint: The folder and what it says of the network.
        settings: How it reads texts and what it makes of the network's states.
        tokenizer: As its file says.
        markers: Marker of each "query" and "document"; a task without one is not in it.
    """

    checkpoint: Checkpoint
    settings: ColbertSettings
    tokenizer: Tokenizer
    markers: Mapping[str, Marker]

    @property
    def added(self) -> tuple[Marker, ...]:
        """Markers that the tokenizer does not have yet."""
        return tuple(marker for marker in self.markers.values() if marker.copied is not None)

    def prompt(self, task: str) -> str:
        """Return the text before a "query" or "document" that makes its marker, if it has one, and the rest."""
        marker = self.markers.get(task)
        return marker.token + marker.prompt if marker else self.settings.prompts.get(task, "")


def read_source(checkpoint: Checkpoint, settings: ColbertSettings) -> Source:
    """Find the markers of a checkpoint.

    Raises:
        InputError: The tokenizer's file cannot be read.
    """
    tokenizer = open_tokenizer(checkpoint)
    markers: dict[str, Marker] = {}
    for task in TASKS:
        prompt = settings.prompts.get(task, "")
        named = settings.markers.get(task)
        known = None if named is None else marker_token(tokenizer, named)
        if known is not None:
            markers[task] = Marker(*known, prompt)
        elif named is None:
            # a vocabulary with numbers left out has fewer tokens than its last number says
            number = 1 + max([*tokenizer.get_vocab().values(), *(marker.id for marker in markers.values())])
            found = _in_prompt(tokenizer, prompt, Marker(NAMES[task], number, ""))
            markers |= {} if found is None else {task: found}
    return Source(checkpoint, settings, tokenizer, markers)


def _in_prompt(tokenizer: Tokenizer, prompt: str, fresh: Marker) -> Marker | None:
    """Return the marker that a prompt begins with, or None.

    That is a token which the tokenizer looks for in texts or, where one word is all of the prompt, a fresh one for it.
    """
    added = tokenizer.get_added_tokens_decoder()
    beginning = [number for number, token in added.items() if token.content and prompt.startswith(token.content)]
    if beginning:
        number = max(beginning, key=lambda number: len(added[number].content))
        token = added[number].content
        return Marker(token, number, prompt.removeprefix(token))
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    if len(ids) != 1 or tokenizer.token_to_id(fresh.token) is not None:
        return None
    return replace(fresh, copied=ids[0])
