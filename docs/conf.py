"""The site: ``python -m sphinx -W --keep-going -b html docs build/docs``."""

import dataclasses
import inspect
import os
import re
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from _generate import write  # noqa: E402
from _generate.docstrings import unfold  # noqa: E402

import theory  # noqa: E402

project = "deep-classifier-theory"
author = "the authors of deep-classifier-theory"
version = release = theory.__version__

extensions = [
    "myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_design", "sphinxcontrib.bibtex",
    "sphinx-mathjax-offline",
]  # fmt: skip
exclude_patterns = ["generated", "_generate", "**/.ipynb_checkpoints", "validation"]

nb_execution_mode = "off"  # the stored outputs are compared with fresh ones by the test suite
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {"version": version}
bibtex_bibfiles = ["../refs.bib"]
bibtex_reference_style = "author_year"

autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Spatial", "Weights", "Data")}
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
add_module_names = False

html_theme = "pydata_sphinx_theme"
html_title = "deep-classifier-theory"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": False, "navigation_depth": 2, "show_nav_level": 1, "show_toc_level": 2, "navbar_align": "left",
    "header_links_before_dropdown": 6, "navbar_persistent": ["search-button"], "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"], "footer_end": [], "collapse_navigation": True,
    # Pages of theory have two headings and formulas that want the room.
    "secondary_sidebar_items": {
        name: ["page-toc"]
        for name in ("which_model", "command_line", "sweeps", "experiments", "benchmarks", "mutants", "fuzz",
                     "notebooks/*", "studies/*", "reference/*", "reference/api/*")
    },
}  # fmt: skip
# Pages of wide tables and long lines of code get the room.
html_sidebars = {
    name: []
    for name in ("index", "which_model", "certificates", "how_we_know", "experiments", "limits", "bibliography",
                 "command_line", "sweeps", "benchmarks", "mutants", "fuzz", "notebooks/*", "studies/*")
}  # fmt: skip
toc_object_entries_show_parents = "hide"
copyright = "deep-classifier-theory, MIT licence"

linkcheck_timeout = 15
linkcheck_retries = 2

nitpicky = True
nitpick_ignore_regex = [
    # Other projects' names: their inventories would need a network.
    ("py:.*", r"(np|numpy|scipy|sp|sympy|torch|nn|matplotlib|cvxpy|jaxtyping|typer|pathlib|collections|sqlite3)\..*"),
    ("py:.*", r"ArrayLike|Axes|Figure|ndarray|Tensor|Path|csr_array|Callable.*|tuple\[.*|TypeAliasForwardRef"),
    # Our aliases and protocols, which are described where they are taken as arguments.
    ("py:.*", r"(.*\.)?(Algorithm|Callback|Data|Differentiable|Facts|Loss|Piece|ScalarWriter|Spatial|Store|Weights)"),
    ("py:.*", r"(theory|simulations)\..*\b_\w+.*|SymbolicBound"),
]
suppress_warnings = ["ref.python"]  # an annotation that only type checkers import, of a name that two rooms have

write.everything()


def _unfold(app, what, name, obj, options, lines):
    lines[:] = unfold(lines)


def _signature(app, what, name, obj, options, signature, returns):
    """Records are returned, not made: their fields are listed below and need no signature. Private fields go."""
    text = inspect.getdoc(obj) or ""
    if what == "class" and dataclasses.is_dataclass(obj) and "Parameters\n---" not in text:
        return "", returns
    return (re.sub(r", _\w+: [^,)]+", "", signature), returns) if signature else None


def setup(app):
    """Docstrings are unfolded before numpydoc reads them."""
    app.connect("autodoc-process-docstring", _unfold, priority=100)
    app.connect("autodoc-process-signature", _signature)
