"""Pages exist where they are mentioned, links lead somewhere, and the front page stays one."""

import re
from pathlib import Path

from tests.support.files import ROOT, tracked

TEXTS = {".py", ".md", ".toml", ".service", ".conf", ".sh", ".yml", ".yaml"}
MENTION = re.compile(r"\bdocs/[\w./-]*\w\.md\b")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def texts() -> list[Path]:
    return [path for path in tracked() if path.suffix in TEXTS]


def pages() -> list[Path]:
    return [path for path in texts() if path.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """Return the names that headings get on GitHub."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        name, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{page}: {link}")
    return broken


def test_every_page_that_is_mentioned_exists() -> None:
    mentions = {(path, name) for path in texts() for name in MENTION.findall(path.read_text())}
    assert len(mentions) > 10
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in mentions if not (ROOT / name).exists()] == []


def test_relative_links_lead_to_files_and_headings() -> None:
    assert [each for page in pages() for each in broken_links(page)] == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading, here\n[good](#a-heading-here) [out](https://example.com) [bad](#no) [gone](no.md)\n")
    assert broken_links(page) == [f"{page}: #no", f"{page}: no.md"]


def test_the_front_page_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_newest_decisions_come_first() -> None:
    dates = re.findall(r"(?m)^## (\S+): ", (ROOT / "docs" / "decisions.md").read_text())
    assert dates
    assert dates == sorted(dates, reverse=True)
