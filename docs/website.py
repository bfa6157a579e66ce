"""The documentation as a site (mkdocs.yml): pages from the whole repository, each link within the site.

A hook of MkDocs. Markdown is written for readers of the repository; here links to files outside docs become
pages too, notebooks become pages, formulas become MathML, and the Python interface comes from docstrings.
Nothing is fetched when the site is read: it works from the built files.
"""

from __future__ import annotations

import ast
import html
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LOG.md": "log.md",
    "bayeslaw/assets/README.md": "data.md",
}
"""Files of the repository that are pages, and where; those of docs keep their names."""

PYTHON = "python.md"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.S | re.M)
COMMENT = re.compile(r"<!--.*?-->\n?", re.S)
MATH = re.compile(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', re.S)
LIST = re.compile(r"^(?![*\-] |\d+\. |[ \t|>]|$)(.*)\n(?=[*\-] |\d+\. )", re.M)
FACES = {
    "bayeslaw": "The steps, as on the command line",
    "bayeslaw.integrations": "In your training code",
}
"""Packages whose public names are documented, and their headings."""

OTHERS = (
    "bayeslaw.integrations.for_optuna.PosteriorSampler",
    "bayeslaw.integrations.for_ray.PosteriorSearch",
)
"""Names that stand on no face, since their modules import a framework."""


# ---------------------------------------------------------------------------------------------- for MkDocs


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs, and every file that a page links to."""
    from mkdocs.structure.files import File

    for place, text in generated_pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make a page of docs fit the site; the generated ones do already."""
    return fitted(markdown, f"docs/{page.file.src_uri}") if page.file.generated_by is None else markdown


def on_page_content(html: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw by themselves."""
    return with_mathml(html)


# -------------------------------------------------------------------------------------------------- pages


def generated_pages() -> dict[str, str]:
    """Pages that are not in docs: place in the site -> Markdown."""
    pages = {place: fitted(read(path), path) for path, place in PAGES.items()}
    pages |= {place_of(path): fitted(notebook(read(path)), path) for path in notebooks()}
    pages[PYTHON] = interface()
    sources: set[str] = set()
    for path in [*PAGES, *notebooks(), *(f"docs/{each.name}" for each in (ROOT / "docs").glob("*.md"))]:
        text = notebook(read(path)) if path in notebooks() else read(path)
        sources |= {found for found in linked(text, path) if place_of(found).startswith("source/")}
    return pages | {place_of(path): source_page(path) for path in sorted(sources)}


def notebooks() -> list[str]:
    """Notebooks, as paths in the repository, in their order."""
    return [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.py"))]


def read(path: str) -> str:
    """Text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def place_of(path: str) -> str:
    """Where a file of the repository is in the site.

    >>> place_of("README.md"), place_of("docs/model.md"), place_of("notebooks/01_a.py")
    ('index.md', 'model.md', 'notebooks/01_a.md')
    >>> place_of("train/run.py")
    'source/train/run.py.md'
    """
    if path in PAGES:
        return PAGES[path]
    folder, _, name = path.partition("/")
    if folder == "docs" and not path.endswith(".py"):
        return name
    return path.removesuffix(".py") + ".md" if folder == "notebooks" else f"source/{path}.md"


def fitted(text: str, path: str) -> str:
    """A page's Markdown with links of the site, without comments, and lists that Python-Markdown sees.

    Args:
        text: Markdown as in the repository.
        path: of the file in the repository.
    """
    return outside_code(
        lambda part: LIST.sub(r"\1\n\n", LINK.sub(lambda link: _link(link, path), part)),
        COMMENT.sub("", text),
    )


def linked(text: str, path: str) -> set[str]:
    """Files of the repository that a page links to."""
    found: set[str] = set()
    for part in CODE.split(text)[::2]:
        targets = (_target(link[3], path) for link in LINK.finditer(part))
        found |= {target for target in targets if target and (ROOT / target).is_file()}
    return found


def outside_code(change: Callable[[str], str], text: str) -> str:
    """Change a text but for its code, in fences and in backquotes.

    >>> outside_code(str.upper, "a `b` c")
    'A `b` C'
    """
    return "".join(part if k % 2 else change(part) for k, part in enumerate(CODE.split(text)))


def _target(link: str, path: str) -> str | None:
    """File of the repository behind a link in a file; None for addresses and anchors."""
    if "://" in link or link.startswith(("#", "mailto:")):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link.partition("#")[0]))


def _link(link: re.Match[str], path: str) -> str:
    """A link as in the site; the words alone where it leads to a folder."""
    target = _target(link[3], path)
    if target is None:
        return link[0]
    if not (ROOT / target).is_file():
        return link[2]
    here = posixpath.dirname(place_of(path))
    anchor = link[3].partition("#")[1:]
    return f"{link[1]}[{link[2]}]({posixpath.relpath(place_of(target), here or '.')}{''.join(anchor)})"


def notebook(text: str) -> str:
    """A notebook in jupytext's percent format as Markdown: its words, and its code in fences."""
    import jupytext

    cells = jupytext.reads(text, fmt="py:percent").cells
    parts = [
        cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```" for cell in cells
    ]
    return "\n\n".join(parts) + "\n"


def source_page(path: str) -> str:
    """A page of a source file, which the search leaves out."""
    language = "python" if path.endswith(".py") else "text"
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{language}\n{read(path).rstrip()}\n````\n"


# --------------------------------------------------------------------------------- the Python interface


def interface() -> str:
    """The page of the Python interface, in the notation of mkdocstrings."""
    parts = ["# Python interface", "Shapes, units and errors of each function, from its docstring."]
    for package, heading in FACES.items():
        parts += [f"## {heading}", f"Of `{package}`:"]
        parts += [_entry(home, f"{package}.{name}") for name, home in public_names(package).items()]
    parts += ["## Searches with Optuna and Ray Tune", *(_entry(name, name) for name in OTHERS)]
    return "\n\n".join(parts) + "\n"


def public_names(package: str) -> dict[str, str]:
    """Names on a package's face -> full names where they are defined, read from its source, in its order."""
    tree = ast.parse(read(f"{package.replace('.', '/')}/__init__.py"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "face":
            homes = ast.literal_eval(node.args[1])
            return {name: _full(package, name, home) for name, home in homes.items()}
    return {
        alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _full(package: str, name: str, home: str) -> str:
    module, _, own = home.partition(":")
    return f"{package}.{module}.{own or name}"


def _entry(home: str, heading: str) -> str:
    """What mkdocstrings replaces by a docstring."""
    return (
        f"::: {home}\n    options:\n      heading: {heading}\n      toc_label: {heading.rpartition('.')[2]}"
    )


# ------------------------------------------------------------------------------------------------ formulas


def with_mathml(page: str) -> str:
    """Formulas that arithmatex marked, as MathML."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        display: Mapping[str, str] = {"div": "block", "span": "inline"}
        return str(convert(html.unescape(found[2]).strip(), display=display[found[1]]))

    return MATH.sub(drawn, page)
