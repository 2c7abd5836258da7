"""The pages as a site: every page can be found, and every link leads somewhere. Needs no generator."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / "conf/README.md", ROOT / "results/README.md", ROOT / "results/benchmark.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(\s*<?([^)>\s]+)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def in_navigation(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    else:
        for one in node.values() if isinstance(node, dict) else node:  # type: ignore[attr-defined]
            yield from in_navigation(one)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(FENCE.sub("", page.read_text("utf-8"))):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
        count = found[slug] = found.get(slug, -1) + 1
        names.add(slug if not count else f"{slug}-{count}")
    return names


def broken(page: Path, text: str) -> list[str]:
    """The relative links of ``text``, as if it were ``page``, that lead to no file or no heading."""
    wrong = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert sorted(in_navigation(settings["nav"])) == sorted(name(page) for page in PAGES)
    assert settings["theme"]["font"] is False


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page, page.read_text("utf-8")) == []


def test_a_broken_link_is_seen() -> None:
    page = ROOT / "docs/evidence.md"
    text = (
        "[good](report.md) [good](../README.md#speed) [good](https://example.org/x)\n```\n[code](none.md)\n```\n"
        "[no file](none.md) [no heading](report.md#none) [no heading here](#none)"
    )
    assert broken(page, text) == ["none.md", "report.md#none", "#none"]


def test_the_site_copies_every_page() -> None:
    script = (ROOT / "scripts/docs").read_text("utf-8")
    assert [name(page) for page in PAGES if not name(page).startswith("docs/") and name(page) not in script] == []


def test_pictures_are_small() -> None:
    pictures = sorted((ROOT / "docs/pictures").iterdir())
    assert [picture.name for picture in pictures] == ["figure.webp", "page.webp", "rooms.svg"]
    assert all(1000 < picture.stat().st_size < 200_000 for picture in pictures)
