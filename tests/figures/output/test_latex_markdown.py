"""Tables as text."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.output.latex_markdown import LONG, Layout, latex, markdown, plain, spread

pytestmark = pytest.mark.usefixtures("among_methods")

FRAME = pd.DataFrame({
    "dataset": ["folder:/a_b"] * 4, "method": ["l1", "l1", "mine & yours", "mine & yours"],
    "keep_rate": [0.25, 0.5, 0.5, 1.0], "value": [-0.5, np.nan, 12.3456, 0.12345],
    "low": [-0.6, np.nan, np.nan, 0.1], "high": [-0.4, np.nan, np.nan, 0.2],
})  # fmt: skip


def test_latex_has_the_rules_of_booktabs_and_no_letter_that_breaks_it() -> None:
    text = latex(plain(FRAME[["dataset", "method", "keep_rate", "value"]]), "95 % of a_b\n\nand more", "mine")
    lines = text.splitlines()
    assert lines[3] == r"\caption{95 \% of a\_b and more}\label{tab:mine}" and r"\begin{tabular}{llrr}" in lines
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"a\_b & $\ell$1 & 0.25 & $-$0.500 \\" in lines and r"a\_b & mine \& yours & 0.5 & 12.3 \\" in lines
    assert r"a\_b & $\ell$1 & 0.5 & -- \\" in lines


def test_a_long_table_goes_over_pages() -> None:
    text = latex(plain(pd.concat([FRAME] * LONG)), "many", "many")
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1 and "tabular}" not in text
    assert len([line for line in text.splitlines() if line.endswith(r"\\")]) == 4 * LONG + 3


def test_markdown_has_a_column_a_column() -> None:
    frame = pd.DataFrame({"method": ["a|b", "topk"], "n": [1, 2]})
    assert markdown(plain(frame), "a\ncaption").splitlines() == [
        "a caption", "", "| method | n |", "| --- | ---: |", r"| a\|b | 1 |", "| Top-K | 2 |",
    ]  # fmt: skip


def test_values_are_put_side_by_side_in_the_order_of_the_rows() -> None:
    table = spread(FRAME.iloc[::-1], Layout(("dataset", "method"), "keep_rate", "value", "a caption"))
    wide = table.cells
    assert list(wide.columns) == ["dataset", "method", "0.25", "0.5", "1"]
    assert list(wide["method"]) == ["mine & yours", "l1"]
    assert wide["0.25"][1] == "-0.500 [-0.600, -0.400]" and wide["0.5"][0] == "12.3" and wide["0.5"][1] == "–"
    assert "| – | 12.3 | 0.123 [0.100, 0.200] |" in markdown(table, "")
    assert markdown(table, "").splitlines()[3] == "| --- | --- | ---: | ---: | ---: |"


@pytest.mark.parametrize(("best", "bold"), [
    ("higher", ["0.900", "0.700"]), ("lower", ["-0.800", "0.600"]), ("strongest", ["0.900", "0.700"]),
    ("metric", ["-0.800", "0.600"]), ({"procrustes": "lower"}, ["-0.800", "0.600"]), (None, []),
])  # fmt: skip
def test_the_best_of_a_column_is_bold_and_the_heads_say_what_is_across(best: Any, bold: list[str]) -> None:
    frame = pd.DataFrame({
        "metric": ["procrustes"] * 5, "method": ["topk", "topk", "tome", "tome", "l2"],
        "keep_rate": [0.25, 0.5, 0.25, 0.5, 0.9], "value": [-0.8, 0.7, 0.9, 0.6, 0.1],
    })  # fmt: skip
    table = spread(frame, Layout(("metric", "method"), "keep_rate", "value", "a caption", best))
    text = latex(table, "c", "n").replace("$-$", "-")
    assert sorted(re.findall(r"\\textbf\{(.*?)\}", text)) == sorted(bold)
    assert "0.100" in text  # which stands beside no other
    assert r"& & \multicolumn{3}{c}{keep rate} \\" in text and r"\cmidrule(lr){3-5}" in text
    said = markdown(table, "")
    assert "| keep rate 0.25 | keep rate 0.5 | keep rate 0.9 |" in said and all(f"**{one}**" in said for one in bold)
