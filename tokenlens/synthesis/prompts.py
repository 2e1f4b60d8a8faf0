"""What to draw: prompts, and of each so many pictures with a seed of their own.

As in JoakimHaurum/ATC@227c94b, SD_setup/sd_generate.py: "A high quality photograph of a {class}.", two pictures of each
of the 1,000 classes of ImageNet, whose seed is the given one plus the number that is written <class><picture>.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.embedded import CLASSES
from ..data.folder import text
from ..errors import BadInput

PHOTOGRAPH = "A high quality photograph of a {}."
LONGEST = 10_000  # letters; text encoders take some hundred


@dataclass(frozen=True)
class Prompts:
    """Texts, one a class."""

    name: str
    texts: tuple[str, ...]

    def pictures(self, each: int, limit: int | None = None) -> list[Picture]:
        """`each` pictures of every prompt, the prompts one after the other; the first `limit` of these."""
        made = [Picture(self, number, one) for number in range(len(self.texts)) for one in range(each)]
        return made[:limit]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the texts."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Picture:
    """One picture to be made."""

    prompts: Prompts
    number: int
    """of the prompt"""
    one: int
    """of the pictures of this prompt, from 0"""

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompts.texts[self.number]

    @property
    def file(self) -> str:
        """As the published code calls it: {class}_{picture}.png."""
        return f"{self.number}_{self.one}.png"

    @property
    def id(self) -> str:
        """What the picture is called in runs, whatever made it."""
        return f"{self.prompts.name}/{self.number}_{self.one}"

    def seed(self, seed: int) -> int:
        """Of its noise."""
        return seed + int(f"{self.number}{self.one}")


def prompts_of(where: str) -> Prompts:
    """The prompts that a user means: imagenet, shapes, or a file with one a line.

    Raises:
        BadInput: there is no such file, it is no text, or holds no prompt.
    """
    if where == "imagenet":
        from timm.data.imagenet_info import ImageNetInfo

        known = ImageNetInfo()
        names = [known.index_to_description(number) for number in range(known.num_classes())]
        return Prompts(where, tuple(PHOTOGRAPH.format(name) for name in names))
    if where == "shapes":
        return Prompts(where, tuple(f"A picture of a {name}." for name in CLASSES))
    path = Path(where)
    if not path.is_file():
        raise BadInput(f"there is no file of prompts {where}; give a text file with one a line, or imagenet, or shapes")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{where} is no text in UTF-8 (byte {error.start}); give a text file with one prompt a line"
        ) from error
    except OSError as error:
        raise BadInput(f"{where} cannot be read ({error.strerror}); check its permissions") from error
    return check(Prompts(text(path.stem), tuple(line.strip() for line in lines if line.strip())))


def check(prompts: Prompts) -> Prompts:
    """Refuse prompts that no file of them could hold, or none at all."""
    if not prompts.texts:
        raise BadInput(f"{prompts.name} holds no prompt; write one a line")
    for number, prompt in enumerate(prompts.texts, 1):
        if not prompt.isprintable():
            raise BadInput(f"prompt {number} of {prompts.name} has a line break or another control character in it, "
                           f"{prompt!r:.80}; write one prompt a line")  # fmt: skip
        if len(prompt) > LONGEST:
            raise BadInput(f"prompt {number} of {prompts.name} has {len(prompt):,} letters; the most are {LONGEST:,}")
    return prompts


def as_prompts(texts: Sequence[str], name: str = "prompts") -> Prompts:
    """Prompts from a list.

    Raises:
        BadInput: there are none, or one has a line break in it.
    """
    return check(Prompts(name, tuple(texts)))
