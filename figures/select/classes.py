"""What classes are called: those of ImageNet by their words, in place of WordNet ids and numbers.

The words are timm's, whose files are read without importing it: this wing needs no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import xarray as xr

WORDNET = re.compile(r"n\d{8}")  # as ImageNet's folders are called
THOUSAND = 1000  # classes of a model that are taken for ImageNet's, as timm does


def in_words(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of classes for readers: of a WordNet id its first word, where timm knows it; others as they are.

    Two that share the word, as ImageNet's two cranes, have the id behind it.

    Examples:
        >>> in_words(["n01440764", "cat"])
        ('tench', 'cat')
    """
    if not any(WORDNET.fullmatch(name) for name in classes):
        return tuple(classes)
    named = [_words().get(name, name) for name in classes]
    shared = Counter(named)
    return tuple(word if shared[word] == 1 else f"{word} ({name})" for word, name in zip(named, classes, strict=True))


def predicted(run: xr.Dataset) -> tuple[str, ...]:
    """The classes that a run's model tells apart, where they are known to be ImageNet's; () where they are not."""
    if int(run.attrs.get("num_classes") or 0) != THOUSAND:
        return ()
    ids = _lines("imagenet_synsets.txt")
    return in_words(ids) if len(ids) == THOUSAND else ()


@cache
def _words() -> dict[str, str]:
    """The first word for each WordNet id."""
    pairs = (line.split("\t", 1) for line in _lines("imagenet_synset_to_lemma.txt"))
    return {name: words.split(",")[0].strip() for name, words in pairs}


@cache
def _lines(name: str) -> list[str]:
    """The lines of one of timm's files on ImageNet; [] where this timm has no such file."""
    timm = find_spec("timm")
    found = [Path(place, "data", "_info", name) for place in (timm and timm.submodule_search_locations) or ()]
    return next((file.read_text(encoding="utf-8").splitlines() for file in found if file.is_file()), [])
