"""Tables as text."""

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.output.latex_markdown import LONG, Layout, latex, markdown, spread

pytestmark = pytest.mark.usefixtures("among_methods")

FRAME = pd.DataFrame({
    "dataset": ["folder:/a_b"] * 4, "method": ["l1", "l1", "mine & yours", "mine & yours"],
    "keep_rate": [0.25, 0.5, 0.5, 1.0], "value": [-0.5, np.nan, 12.3456, 0.12345],
    "low": [-0.6, np.nan, np.nan, 0.1], "high": [-0.4, np.nan, np.nan, 0.2],
})  # fmt: skip


def test_latex_has_the_rules_of_booktabs_and_no_letter_that_breaks_it() -> None:
    text = latex(FRAME[["dataset", "method", "keep_rate", "value"]], "95 % of a_b\n\nand more", "mine")
    lines = text.splitlines()
    assert lines[3] == r"\caption{95 \% of a\_b and more}\label{tab:mine}" and r"\begin{tabular}{llrr}" in lines
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"a\_b & $\ell$1 & 0.25 & $-$0.500 \\" in lines and r"a\_b & mine \& yours & 0.5 & 12.3 \\" in lines
    assert r"a\_b & $\ell$1 & 0.5 & -- \\" in lines


def test_a_long_table_goes_over_pages() -> None:
    text = latex(pd.concat([FRAME] * LONG), "many", "many")
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1 and "tabular}" not in text
    assert len([line for line in text.splitlines() if line.endswith(r"\\")]) == 4 * LONG + 3


def test_markdown_has_a_column_a_column() -> None:
    frame = pd.DataFrame({"method": ["a|b", "topk"], "n": [1, 2]})
    assert markdown(frame, "a\ncaption").splitlines() == [
        "a caption", "", "| method | n |", "| --- | ---: |", r"| a\|b | 1 |", "| Top-K | 2 |",
    ]  # fmt: skip


def test_values_are_put_side_by_side_in_the_order_of_the_rows() -> None:
    wide = spread(FRAME.iloc[::-1], Layout(("dataset", "method"), "keep_rate", "value"))
    assert list(wide.columns) == ["dataset", "method", "0.25", "0.5", "1"]
    assert list(wide["method"]) == ["mine & yours", "l1"]
    assert wide["0.25"][1] == "-0.500 [-0.600, -0.400]" and wide["0.5"][0] == "12.3" and wide["0.5"][1] == "–"
    assert "| – | 12.3 | 0.123 [0.100, 0.200] |" in markdown(wide, "")
    assert markdown(wide, "").splitlines()[3] == "| --- | --- | ---: | ---: | ---: |"
