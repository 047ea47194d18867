"""What mkdocs.yml cannot say: the order of the pages, the reference, and links that leave this folder.

A new page ``docs/topic.md`` and a new name in ``cymf.__all__`` appear on the site by themselves.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

REPOSITORY = Path(__file__).resolve().parents[1]
FIRST = ("index.md", "getting-started.md", "migration.md")
GUIDE = (
    "tables-and-ids.md",
    "explicit-ratings.md",
    "svdpp.md",
    "nmf.md",
    "factorization-machines.md",
    "bayesian-mf.md",
    "implicit-feedback.md",
    "cold-start.md",
    "exploration.md",
    "daily-updates.md",
    "evaluation.md",
    "serving.md",
    "files-and-data-sets.md",
    "command-line.md",
    "scikit-learn.md",
)
LAST = ("changelog.md", "releasing.md")
DROP_INS = ("cymf.compat.implicit", "cymf.compat.surprise")
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that are made from other files, and list all pages in their order."""
    reference = {f"reference/{name}.md": _page_of(name) for name in _public_names()}
    reference |= {f"reference/{module}.md": _page_of_module(module) for module in DROP_INS}
    for path, content in reference.items():
        files.append(File.generated(config, path, content=content))
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=changelog))

    pages = {file.src_uri for file in files.documentation_pages()}
    topics = {page for page in pages if "/" not in page} - {*FIRST, *GUIDE, *LAST}
    decisions = sorted(page for page in pages if page.startswith("decisions/0"))
    config.nav = [
        *[page for page in FIRST if page in pages],
        {"Guide": [*[page for page in GUIDE if page in pages], *sorted(topics)]},
        {
            "Reference": [
                "reference/index.md",
                *[{Path(page).stem: page} for page in reference],
            ]
        },
        {"Decisions": ["decisions/README.md", *decisions]},
        {"Project": [page for page in LAST if page in pages]},
    ]
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn links that leave this folder, which the site cannot follow, into the names of the files."""
    folder = posixpath.dirname(page.file.src_uri)

    def named(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if not path.startswith("../"):
            return link[0]
        path = path.removeprefix("../")
        return text if path in text else f"{text} (`{path}`)"

    return _LINK.sub(named, markdown)


def _public_names() -> list[str]:
    return [name for name in _listed(REPOSITORY / "cymf" / "__init__.py") if name[0] != "_"]


def _listed(path: Path) -> list[str]:
    """The names in a module's ``__all__``, read without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _page_of(name: str) -> str:
    module = REPOSITORY / "cymf" / f"{name}.py"
    if module.exists() and name not in _listed(module):
        return _page_of_module(f"cymf.{name}")
    return f"# {name}\n\n::: cymf.{name}\n"


def _page_of_module(module: str) -> str:
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    parts = [f"# {module}", f"::: {module}\n    options:\n      members: false"]
    for name in _listed(path):
        options = "    options:\n      heading_level: 3"
        parts += [f"## {name}", f"::: {module}.{name}\n{options}"]
    return "\n\n".join(parts) + "\n"
