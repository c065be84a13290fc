"""The documentation: its links, and the built site."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


class Links(HTMLParser):
    """Links and places of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def links_of(path: Path) -> Links:
    found = Links()
    found.feed(path.read_text())
    return found


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_of_pages_hold_on_a_code_host(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'scr3d[docs]'")
    specification = importlib.util.spec_from_file_location("docs_hooks", ROOT / "tools" / "docs_hooks.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_links_out_of_the_pages_are_found_and_code_is_left_alone(hooks: ModuleType) -> None:
    text = "[a](../results/x.json) [b](other.md#c) `[d](../e)`\n```\n[f](../g)\n```\n[h](https://x.org) ![j](k.png)"
    assert hooks.outer_targets("page.md", text) == {"results/x.json"}
    assert hooks.outer_targets("index.md", "[a](NOTICE) [b](docs/data.md) [c](CONTRIBUTING.md)") == {"NOTICE"}
    assert hooks.in_site("results/recipe") == "repository/results/recipe/index.md"
    assert hooks.in_site("NOTICE") == "repository/NOTICE.txt"
    assert hooks.in_site("docs/data.md") == "data.md"
    assert hooks.in_site("CHANGELOG.md") == "changelog.md"


@pytest.fixture(scope="module")
def site(hooks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path.resolve(): links_of(path) for path in site.rglob("*.html")}
    assert len(pages) > 30
    broken = []
    for page, found in pages.items():
        if page.name == "404.html":
            continue  # its links are counted from the server's root
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target = target / "index.html"
            place = unquote(parts.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                broken.append(f"{page.name}: {link}")
    assert broken == []


@pytest.mark.slow
def test_pages_load_nothing_from_other_sites(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\bsrc="(https?:[^"]+)"', page.read_text())
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(https?:[^"]+)"', page.read_text())
        assert loaded == [], page.name


@pytest.mark.slow
def test_the_reference_has_every_name_of_the_package(site: Path) -> None:
    import scr3d

    text = " ".join(" ".join(links_of(path).places) for path in (site / "reference").glob("*.html"))
    documented = {place.rpartition(".")[2] for place in text.split()}
    alias = {"search_orders": "search", "__version__": "load"}
    missing = [name for name in scr3d.__all__ if alias.get(name, name) not in documented]
    assert missing == []
