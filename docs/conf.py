"""The settings of the manual, which `scripts/docs` builds."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "jobqueue"
release = version = metadata.version("jobqueue")
extensions = ["docs.extension", "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"
# Commands whose quoted arguments take several lines are no faults.
suppress_warnings = ["misc.highlighting_failure"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "separated"

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["manual.css"]
html_favicon = "../jobqueue/dashboard/static/icon.svg"
html_title = f"jobqueue {release}"
# Files that go into the manual as they are.
html_extra_path = ["llms.txt"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
