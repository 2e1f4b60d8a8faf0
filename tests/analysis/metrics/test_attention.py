"""Agreement of what is kept with what is attended to, beside a slow twin."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tokenlens.analysis.metrics.attention import attention_auc


def test_it_is_the_area_under_the_curve_over_the_patches_that_are_there() -> None:
    rng = np.random.default_rng(0)
    kept, paid = rng.random((3, 2, 30)) < 0.4, rng.integers(0, 9, (3, 2, 30)).astype(np.float16)  # with ties
    paid[..., ::5] = np.nan
    kept[..., ::5] = False
    found = attention_auc(kept, paid)
    for at in np.ndindex(3, 2):
        there = ~np.isnan(paid[at])
        assert found[at] == pytest.approx(roc_auc_score(kept[at][there], paid[at][there]))

    assert attention_auc(np.arange(20) >= 12, np.arange(20)) == 1
    assert np.isnan(attention_auc(np.ones((4, 20), bool), rng.random((4, 20)))).all()
