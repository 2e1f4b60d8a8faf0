"""The weights that come with the package belong to the model that `NANO` describes, and know the embedded set."""

from __future__ import annotations

import pytest
import timm
from safetensors.torch import load_file

from tokenlens.weights import ARCHITECTURE, NANO, nano_path
from tokenlens.workflows.nano.train import accuracy


def test_nano_knows_the_embedded_set() -> None:
    vit = timm.create_model(ARCHITECTURE, **NANO)
    assert accuracy(vit, "test", 100, 50) < 0.4
    vit.load_state_dict(load_file(nano_path()))
    assert accuracy(vit, "test", 200, 50) >= 0.9


def test_unknown_weights_are_refused_with_those_that_exist() -> None:
    with pytest.raises(LookupError, match=r"no weights called 'mano' .* nano"):
        nano_path("mano")
