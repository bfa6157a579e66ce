"""The documentation as a site: links stay within it, names exist, it builds strictly and can be searched."""

from __future__ import annotations

import doctest
import os
import posixpath
import re
import subprocess
import sys

import pytest

from docs import website
from tests.support.documents import ROOT
from tests.support.report_browser import chromium

pytest.importorskip("jupytext")


@pytest.fixture(scope="module")
def pages():
    own = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    texts = {website.place_of(path): website.fitted(website.read(path), path) for path in own}
    return texts | website.generated_pages()


def test_doctests():
    assert doctest.testmod(website) == doctest.TestResults(failed=0, attempted=3)


def test_every_link_leads_to_a_page_or_picture(pages):
    pictures = {path.name for path in (ROOT / "docs").glob("*.png")}
    followed = 0
    for place, text in pages.items():
        if place.startswith("source/"):
            continue
        for part in website.CODE.split(text)[::2]:
            for link in website.LINK.finditer(part):
                if "://" not in link[3] and not link[3].startswith("#"):
                    target = posixpath.normpath(
                        posixpath.join(posixpath.dirname(place), link[3].partition("#")[0])
                    )
                    assert target in pages or target in pictures, f"{place}: {link[0]}"
                    followed += 1
    assert followed > 50


def test_a_link_to_a_folder_is_words_and_one_to_a_file_is_its_page():
    text = (
        "[code](../bayeslaw/cli), [law](../bayeslaw/law/terms.py#x), `[a](b)`, ![p](replay.png)\n<!-- no -->"
    )
    assert website.fitted(text, "docs/model.md") == (
        "code, [law](source/bayeslaw/law/terms.py.md#x), `[a](b)`, ![p](replay.png)\n"
    )
    assert website.fitted("Some:\n* one\n* two\n", "docs/model.md") == "Some:\n\n* one\n* two\n"


def test_the_navigation_names_pages_and_leaves_none_out(pages):
    named = set(re.findall(r"[:-] (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert named == {place for place in pages if not place.startswith("source/")}, (
        "complete nav in mkdocs.yml"
    )


@pytest.mark.parametrize("package", website.FACES)
def test_documented_names_are_defined(package):
    names = website.public_names(package)
    assert len(names) > 10
    for home in [*names.values(), *website.OTHERS]:
        module, _, name = home.rpartition(".")
        source = website.read(f"{module.replace('.', '/')}.py")
        assert re.search(rf"^(?:def|class) {name}\b", source, re.M), home


def test_formulas_become_mathml():
    pytest.importorskip("latex2mathml", reason="needs latex2mathml: pip install 'bayeslaw[docs]'")
    page = '<p><span class="arithmatex">\\(a &lt; b\\)</span></p><div class="arithmatex">\\[\nx^2\n\\]</div>'
    found = website.with_mathml(page)
    assert found.count("<math") == 2
    assert "arithmatex" not in found
    assert 'display="block"' in found


@pytest.mark.slow
def test_it_builds_strictly_and_is_searched_without_a_server(tmp_path):
    pytest.importorskip("mkdocs", reason="needs MkDocs: pip install 'bayeslaw[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    with chromium() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{tmp_path / 'site' / 'notebooks' / '01_from_runs_to_recommendation.html'}")
        page.keyboard.press("/")
        page.keyboard.type("decoupled weight decay")
        page.wait_for_selector(".md-search-result__link")
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        page.goto(f"file://{tmp_path / 'site' / 'python.html'}")
        assert "Recommend settings, with the interval of the optimum" in page.inner_text("main")
        page.goto(f"file://{tmp_path / 'site' / 'model.html'}")
        assert page.locator("math").count() > 100
        page.context.close()
