"""Apparatus: figures. How does a picture come about where matplotlib is, and what is said where it is not?

matplotlib is an extra, pip install -e ".[plot]": all that is not a picture works without it. Colours are
those of Okabe and Ito (2008), which the colour-blind can tell apart.

Next: mirrors.py, where the archives of corpora come from.
"""

import importlib
import io
import warnings
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # their yellow is too light on white
BLACK, GREY = "#000000", "#555555"
INSTALL = 'pip install -e ".[plot]"'


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    return True


def as_drawn(text: str) -> str:
    """Text of which matplotlib takes nothing for a formula."""
    return text.replace("$", r"\$")


def png(figure: Any, **settings) -> bytes:
    """The figure as a file; `settings` are matplotlib's of saving."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box: not worth a line for each
        figure.savefig(data, format="png", dpi=150, **settings)
    return data.getvalue()
