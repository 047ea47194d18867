"""What mkdocs.yml cannot say: the order of the pages, the reference, equations, and links that leave this folder.

A new page ``docs/topic.md`` and a new name in ``cymf.__all__`` appear on the site by themselves. Equations become
MathML, which browsers show by themselves: the site loads nothing from elsewhere.
"""

from __future__ import annotations

import ast
import html
import logging
import posixpath
import re
import zlib
from pathlib import Path
from textwrap import dedent
from typing import Any

from latex2mathml.converter import convert
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
    "training-progress.md",
    "files-and-data-sets.md",
    "command-line.md",
    "scikit-learn.md",
)
LAST = ("changelog.md", "releasing.md")
DROP_INS = ("cymf.compat.implicit", "cymf.compat.surprise")
BESIDE = {"Ratings": "cymf._ids.IdMap"}  # what attributes of a class are, and nobody makes
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.+?)\\[)\]]</\1>', re.DOTALL)
_C_FUNCTION = re.compile(
    r'^(?:cdef|def) ((?:(?!\n\n).)+?):\n    """(.+?)"""', re.DOTALL | re.MULTILINE
)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that are made from other files, and list all pages in their order."""
    reference = {f"reference/{name}.md": _page_of(name) for name in _public_names()}
    reference |= {f"reference/{module}.md": _page_of_module(module) for module in DROP_INS}
    reference["reference/cymf.kernels.md"] = _page_of_kernels()
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


def on_page_content(content: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn equations into MathML."""

    def as_mathml(equation: re.Match[str]) -> str:
        element, tex = equation[1], html.unescape(equation[2])
        shown = convert(tex, display="block" if element == "div" else "inline")
        if unknown := re.search(r"<m[io]>(\\[A-Za-z]+)", shown):
            logging.getLogger("mkdocs").warning(f"{page.file.src_uri}: {unknown[1]} is unknown")
        return f'<{element} class="arithmatex">{shown}</{element}>'

    return _EQUATION.sub(as_mathml, content)


def on_post_build(*, config: Any) -> None:
    """Tell of public names that have no place on the site."""
    inventory = (Path(config.site_dir) / "objects.inv").read_bytes()
    entries = zlib.decompress(inventory.split(b"\n", 4)[4]).decode().splitlines()
    there = {entry.split()[0] for entry in entries}
    wanted = {f"cymf.{name}" for name in _public_names()}
    for module in ("cymf.datasets", "cymf.evaluation", *DROP_INS):
        path = REPOSITORY / f"{module.replace('.', '/')}.py"
        wanted |= {f"{module}.{name}" for name in _listed(path)}
    for name in sorted(wanted - there):
        logging.getLogger("mkdocs").warning(f"the reference has no {name}")


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
    page = _entry(f"cymf.{name}", 1)
    return page + _entry(BESIDE[name], 2) if name in BESIDE else page


def _page_of_module(module: str) -> str:
    names = _listed(REPOSITORY / f"{module.replace('.', '/')}.py")
    opening = _entry(module, 1, members="false", show_root_full_path="true")
    return opening + "".join(_entry(f"{module}.{name}", 2) for name in names)


def _entry(path: str, level: int, **options: str) -> str:
    lines = [f"      {name}: {value}\n" for name, value in options.items()]
    return f"::: {path}\n    options:\n      heading_level: {level}\n{''.join(lines)}\n"


def _page_of_kernels() -> str:
    """The compiled kernels, of whose functions those of single precision stand for both."""
    folder = REPOSITORY / "cymf"
    opening = (folder / "kernels.pxd").read_text(encoding="utf-8").partition("\n\n")[0]
    lines = [line.removeprefix("#").removeprefix(" ") for line in opening.splitlines()]
    parts = ["# cymf.kernels", "\n".join(lines)]
    parts += [
        "Functions that end in `_f32` are there as `_f64` as well, with `double` for `float`. "
        "From Python the module has `get_include()` alone."
    ]
    source = (folder / "kernels.pyx").read_text(encoding="utf-8")
    for signature, text in _C_FUNCTION.findall(source):
        name = re.findall(r"(\w+)\(", signature)[0]
        if not name.endswith("_f64"):
            parts += [f"## {name}", f"```cython\n{signature}\n```", dedent(f"    {text}").strip()]
    return "\n\n".join(parts) + "\n"
