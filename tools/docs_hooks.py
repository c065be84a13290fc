"""Hooks of the documentation site (mkdocs.yml).

The pages are written to be read on a code host as well, so they link to result files, programs and the licence by their
places in the repository. Here every such link becomes one to a copy within the site; a link to a folder leads to a page
that lists its files. The home page is the README, and the changelog and the notes for contributors are those of the
repository, so that nothing is written twice. The notebooks become pages with the outputs that they were committed with.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from notebook_pages import page_of

ROOT = Path(__file__).parent.parent
COPIES = "repository"
"""Folder of the copies within the site."""
NOTEBOOKS = {f"notebooks/{path.stem}.md": f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
FROM_ROOT = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", **NOTEBOOKS}
"""Pages that are files outside of docs/."""
PICTURE = re.compile(r"notebooks/[\w-]+\.png")
"""Places of the notebooks' pictures, which lie in the notebooks themselves."""
OPTIONAL_PAGES = {"results.md": ("Results", "benchmark.md")}
"""Pages that a command writes: their section, and the page that follows them."""
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
log = logging.getLogger("mkdocs.hooks.scr3d")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation that are there only after their command has run."""
    for page, (section, before) in OPTIONAL_PAGES.items():
        if (Path(config.docs_dir) / page).is_file():
            entries = next(item[section] for item in config.nav if isinstance(item, dict) and section in item)
            entries.insert(entries.index(before), page)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and what the pages link to outside of docs/."""
    for page, source in FROM_ROOT.items():
        content = (ROOT / source).read_text()
        if page in NOTEBOOKS:
            content, pictures = page_of(content, Path(source).stem)
            for name, picture in pictures.items():
                files.append(File.generated(config, f"notebooks/{name}", content=picture))
        files.append(File.generated(config, page, content=content))
    for page in [file for file in files if file.is_documentation_page()]:
        for target in outer_targets(page.src_uri, page.content_string):
            add_copy(files, config, target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to places within the site."""
    here = PurePosixPath(page.file.src_uri)

    def replaced(found: re.Match[str]) -> str:
        target = resolved(page.file.src_uri, found[2])
        if target is None:
            return found[0]
        inside = in_site(target)
        return f"{found[1]}{os.path.relpath(inside, here.parent)}{found[3]}"

    parts = CODE.split(markdown)
    return "".join(part if number % 2 else LINK.sub(replaced, part) for number, part in enumerate(parts))


def outer_targets(page: str, markdown: str) -> set[str]:
    """Places in the repository outside of docs/ that a page links to."""
    targets = set()
    for number, part in enumerate(CODE.split(markdown)):
        for found in LINK.finditer("" if number % 2 else part):
            target = resolved(page, found[2])
            if target is None or target.startswith("docs/") or target in FROM_ROOT.values():
                continue
            if not PICTURE.fullmatch(target):
                targets.add(target)
    return targets


def resolved(page: str, link: str) -> str | None:
    """The place in the repository that a link stands for; None for addresses of other sites."""
    if re.match(r"[a-z]+:", link) or link.startswith("/"):
        return None
    source = FROM_ROOT.get(page, f"docs/{page}")
    return os.path.normpath(PurePosixPath(source).parent / link)


def in_site(target: str) -> str:
    """The source path in the site of a place in the repository."""
    for page, source in FROM_ROOT.items():
        if target == source:
            return page
    if PICTURE.fullmatch(target):
        return target
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"{COPIES}/{target}/index.md" if (ROOT / target).is_dir() else f"{COPIES}/{target}.txt"


def add_copy(files: Files, config: MkDocsConfig, target: str) -> None:
    """Add a file of the repository, or a page that lists a folder."""
    place = in_site(target)
    if files.get_file_from_path(place) is not None:
        return
    source = ROOT / target
    if source.is_file():
        files.append(File.generated(config, place, content=source.read_bytes()))
    elif source.is_dir():
        inside = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
        for path in inside:
            add_copy(files, config, f"{target}/{path.name}")
        lines = [f"- [{path.name}]({path.name}.txt) ({path.stat().st_size:,} bytes)" for path in inside]
        content = "\n".join([f"# {target}", "", "Files of the repository.", "", *lines, ""])
        files.append(File.generated(config, place, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    else:
        log.warning(f"a page links to {target}, which is not in the repository")
