"""Files of figures: text as text, the same figure the same file."""

import pytest
from matplotlib.figure import Figure

from tokenlens.errors import BadInput, UnknownName
from tokenlens.figures.output.formats import formats, image
from tokenlens.figures.theme import style


def made() -> Figure:
    with style.use("iccv"):
        figure = style.new_figure("iccv")
        ax = figure.subplots()
        ax.set_title("ρ of $a_b$ and 画")
        ax.plot([0, 1], [1, -1])
    return figure


def test_text_stays_text_and_fonts_are_embedded() -> None:
    svg = image(made(), "svg", "iccv").decode()
    assert ">ρ of $a_b$ and 画</text>" in svg and "−1.00</text>" in svg
    pdf = image(made(), "pdf", "iccv")
    assert b"/FontFile2" in pdf and b"/Type /Font" in pdf and b"/Subtype /Type3" not in pdf


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_the_same_figure_is_the_same_file(kind: str) -> None:
    first = image(made(), kind, "iccv")
    assert first == image(made(), kind, "iccv") != image(style.new_figure("iccv"), kind, "iccv")


def test_formats_are_read_once_each() -> None:
    assert formats("svg, PNG,svg") == ["svg", "png"]
    with pytest.raises(UnknownName, match="no format called 'psd'; did you mean pdf"):
        formats("png,psd")
    with pytest.raises(BadInput, match="names no format; give some of pdf,svg,png"):
        formats(" ,")
