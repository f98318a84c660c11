"""The site: ``python -m sphinx -W --keep-going -b html docs build/docs``."""

import os
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from _generate import write  # noqa: E402
from _generate.docstrings import unfold  # noqa: E402
from _generate.inventory import public  # noqa: E402
from _generate.reference import filename_map  # noqa: E402

import theory  # noqa: E402

project = "deep-classifier-theory"
author = "the authors of deep-classifier-theory"
version = release = theory.__version__

extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_design", "sphinxcontrib.bibtex",
    "sphinx-mathjax-offline",
]  # fmt: skip
exclude_patterns = ["generated", "_generate", "**/.ipynb_checkpoints", "validation"]
templates_path = ["_templates"]

nb_execution_mode = "off"  # the stored outputs are compared with fresh ones by the test suite
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
bibtex_bibfiles = ["../refs.bib"]
bibtex_reference_style = "author_year"

autosummary_generate = True
autosummary_filename_map = filename_map()
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Spatial", "Weights", "Data")}
autodoc_member_order = "bysource"
autodoc_mock_imports: list[str] = []
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
    "header_links_before_dropdown": 7, "navbar_end": ["theme-switcher"], "footer_start": ["copyright"],
    "footer_end": [], "secondary_sidebar_items": ["page-toc"], "collapse_navigation": True,
}  # fmt: skip
html_sidebars = {"index": [], "which_model": [], "bibliography": []}
copyright = "deep-classifier-theory, MIT licence"

nitpicky = True
# Other projects' names: their inventories would need a network.
nitpick_ignore_regex = [
    ("py:.*", r"(np|numpy|scipy|sp|sympy|torch|nn|matplotlib|cvxpy|jaxtyping|typer|pathlib|collections|sqlite3)\..*"),
    ("py:.*", r"(ArrayLike|Axes|Figure|ndarray|Tensor|Path|Callable|Iterable|Iterator|Mapping|Sequence|Generator|Any)"),
    # Aliases and classes that people never make or import themselves.
    ("py:.*", r"(theory|simulations)\..*\b_\w+.*"),
]

write.everything()


def _unfold(app, what, name, obj, options, lines):
    lines[:] = unfold(lines)


def _public_name(app, env, node, contnode):
    """A class is documented where it is imported from; annotations name where it is defined."""
    places = {item.real: name for name, item in public().items()}
    target = places.get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or target is None:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)


def setup(app):
    """Docstrings are unfolded before numpydoc reads them."""
    app.connect("autodoc-process-docstring", _unfold, priority=100)
    app.connect("missing-reference", _public_name)
