import pytest

from scripts.dataset_pages import PAGES, pages


@pytest.mark.slow
def test_the_pages_are_those_of_the_specs() -> None:
    """If this fails: python scripts/dataset_pages.py"""
    written = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    assert written == pages()
