"""Pages for users are plain English, and the list for assistants is whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.docs.readme import ROOT
from tests.support.docs.sentences import sentences

if TYPE_CHECKING:
    from pathlib import Path

DOCS: Final = ROOT / "docs"
GUIDES: Final = (
    *("index", "comparison", "jobs", "processing", "tasks", "steps", "workflows", "queues", "failures", "schedules"),
    *("history", "testing", "frameworks", "clients", "logs", "mistakes", "glossary", "assistants"),
    *("guarantees", "access", "alerts", "erasure", "settings", "log-events", "deploy", "http-api"),
)
PAGES: Final = (
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in GUIDES),
    *sorted(page for folder in ("start", "guides", "coming-from") for page in (DOCS / folder).glob("*.md")),
)
OTHERS: Final = sorted({ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")} - set(PAGES))
"""Pages about how it works, and those for people who develop it."""
_MOST_WORDS: Final = 25
_MOST_OF_OTHERS: Final = 30
_OPENING: Final = re.compile(
    r"(What|Who|Whoever|Whatever|Whether|Whose|Which|How|Where|Wherever|Do|Let|Those|All that)\b"
)
"""Openings of a sentence without a subject, or with a verb that says nothing."""


def faults(page: str) -> list[str]:
    """Return the sentences of a page that are hard to read, each with its line and its fault."""
    found = []
    for sentence in sentences(page):
        if sentence.words > _MOST_WORDS:
            found.append(f"{sentence.line}: {sentence.words} words: {sentence.text}")
        if _OPENING.match(sentence.text):
            found.append(f"{sentence.line}: its opening: {sentence.text}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_are_short_and_begin_with_a_subject(page: Path) -> None:
    assert faults(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_sentence_is_long(page: Path) -> None:
    long = [sentence for sentence in sentences(page.read_text(encoding="utf-8")) if sentence.words > _MOST_OF_OTHERS]
    assert long == []


def test_sentences_are_found_in_paragraphs_and_items_and_nowhere_else() -> None:
    page = """# What is no sentence

The first one ends here. A [link](what.md) and `code.Which is` count as words, e.g. here! It goes
on in the next line? "Quoted." 3 more.

* **An item** is alone
  until it ends
1. a numbered one

| What | a table |
| --- | --- |

```console
$ What is code.
```

::::{note}
Let it be.
::::
"""
    assert [(found.line, found.text) for found in sentences(page)] == [
        (3, "The first one ends here."),
        (3, "A link and CODE count as words, e.g. here!"),
        (3, "It goes on in the next line?"),
        (3, '"Quoted."'),
        (3, "3 more."),
        (6, "An item is alone until it ends"),
        (8, "a numbered one"),
    ]
    assert [fault.partition(": ")[2] for fault in faults(f"Do it.\n\n{'word ' * 31}.")] == [
        "its opening: Do it.",
        f"31 words: {'word ' * 31}.",
    ]


def test_the_list_for_assistants_has_pages_of_the_manual_and_all_guides() -> None:
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[[^]]+\]\(([\w/-]+)\.html\): \S", text, re.MULTILINE)
    assert len(listed) == len(set(listed)) == text.count("](")
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    found = re.findall(r"^```{toctree}\n:caption: (.*)\n(?::.*\n)*\n((?:[^`\n]+\n)*)```$", index, re.MULTILINE)
    trees = {caption: set(names.split()) for caption, names in found}
    assert set(listed) <= set().union(*trees.values())
    assert trees["Start"] | trees["Guides"] | trees["Coming from"] <= set(listed)
    assert [name for name in listed if not (DOCS / f"{name}.md").exists()] == []
    assert listed[0] == "assistants", "the page to read first"
    assert text.isascii(), "servers name no encoding"


def test_the_glossary_is_sorted_and_leaves_inner_words_to_contributing() -> None:
    def words(page: Path) -> dict[str, str]:
        _, _, rest = page.read_text(encoding="utf-8").partition("| word | meaning |")
        return dict(re.findall(r"^\| ([a-z][a-z -]*) \| (.*) \|$", rest.partition("\n\n")[0], re.MULTILINE))

    listed, inner = words(DOCS / "glossary.md"), words(ROOT / "CONTRIBUTING.md")
    assert list(listed) == sorted(listed)
    assert {word for word, meaning in listed.items() if meaning.startswith("see [contributing]")} == set(inner)
