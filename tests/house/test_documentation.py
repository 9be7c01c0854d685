"""Documentation is a test: what the code has is described, and what a page says exists."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.controller import errors as controller_errors
from edgewright.controller.compiler.targets import DESCRIBED, TARGETS
from edgewright.wire import deployment, errors, topics
from tests.house.sources import ROOT, repository_files

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [path for path in repository_files() if path.suffix == ".md"]
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))

# The specification's nouns; each has exactly one row in the glossary.
TERMS = [
    *("Device", "Target", "Model", "Version", "Artifact", "Release", "Rollout", "Wave", "Assignment", "Slot"),
    *("Report", "Window", "Agent", "Controller", "Supervisor", "Line", "Runner", "Manifest", "Blob", "Chunk"),
    *("Patch", "Outbox", "Sample", "Selector", "Gate"),
]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _errors() -> list[type[errors.EdgewrightError]]:
    return [
        value
        for module in (errors, controller_errors)
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, errors.EdgewrightError)
        and "number" in vars(value)
        # Each module also holds what it imports from the other.
        and value.__module__ == module.__name__
    ]


def _make_targets() -> list[str]:
    return re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_reference_is_written_from_the_code() -> None:
    """Every generated page is what the code says now; `make docs` writes them again."""
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_error_numbers_are_unique() -> None:
    """No two errors of the two sides share a number, which is also an exit status."""
    numbers = [error.number for error in _errors()]
    assert len(numbers) == len(set(numbers))
    assert max(numbers) < 126, "a shell gives the statuses from 126 on a meaning of its own"


@pytest.mark.parametrize("error", _errors(), ids=lambda error: error.__name__)
def test_errors_are_documented(error: type[errors.EdgewrightError]) -> None:
    """An error's number and remedy stand on the page of errors."""
    page = (REFERENCE / "errors.md").read_text()
    assert re.search(rf"\b{error.number}\b", page)
    assert error.number == errors.EdgewrightError.number or error.remedy in page


def test_pages_that_remedies_name_exist() -> None:
    """A remedy that sends its reader to a page names one that is there."""
    named = {page for error in _errors() for page in re.findall(r"docs/[\w/.-]+\.md", error.remedy)}
    assert named
    assert not [page for page in named if not (ROOT / page).is_file()]


def test_topics_are_documented() -> None:
    """Every topic that the contract builds has its row."""
    page = (REFERENCE / "topics.md").read_text()
    built = {
        name
        for name, value in inspect.getmembers(topics, inspect.isfunction)
        if value.__module__ == topics.__name__ and not name.startswith(("_", "check_", "parse_", "shard_"))
    }
    assert built
    assert not [name for name in built if f"`{name}(" not in page]


def test_states_are_documented() -> None:
    """Every state of a deployment has its row."""
    page = (REFERENCE / "deployment-states.md").read_text()
    assert not [state for state in deployment.State if f"| `{state}` |" not in page]


def test_targets_are_documented() -> None:
    """Every target that a model can be compiled for has its row, and every one that is not qualified yet."""
    page = (REFERENCE / "targets.md").read_text()
    assert not [name for name in (*TARGETS, *DESCRIBED) if f"| `{name}` |" not in page]


@pytest.mark.parametrize("target", _make_targets())
def test_make_targets_are_documented(target: str) -> None:
    """Every make target stands in README or CONTRIBUTING."""
    assert any(f"`make {target}`" in (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))


@pytest.mark.parametrize("term", TERMS)
def test_the_glossary_has_the_term(term: str) -> None:
    """A noun of the specification has one row in the glossary."""
    assert (REFERENCE / "glossary.md").read_text().count(f"| **{term}** |") == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    """A link to a file of the repository leads to a file, and to a heading of it where it names one."""
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        to = (page.parent / name).resolve() if name else page
        if not to.exists() or (anchor and anchor not in _anchors(to)):
            broken.append(link)
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    """From docs/README.md a reader can click through to each page under docs."""
    reached: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file() or page.suffix != ".md":
            continue
        reached.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(page.read_text()) if ":" not in link)
        waiting += [(page.parent / link).resolve() for link in links if link]
    assert not {str(page.relative_to(ROOT)) for page in PAGES if page.is_relative_to(DOCS)} - {
        str(page.relative_to(ROOT)) for page in reached if page.is_relative_to(ROOT)
    }


@pytest.mark.parametrize("record", DECISIONS, ids=lambda record: record.stem)
def test_a_decision_is_one_page(record: Path) -> None:
    """A record has Status, Context, Decision and Consequences, in this order, on one page."""
    text = record.read_text()
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == ["Status", "Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60


def test_decisions_are_counted() -> None:
    """Records are numbered from 1 without a gap, and the index names each."""
    assert [int(record.name[:4]) for record in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (DOCS / "decisions/README.md").read_text()
    assert not [record.name for record in DECISIONS if f"({record.name})" not in index]


def _shown_commands() -> list[tuple[str, str]]:
    """Every line of a code block that calls one of the two programs, with the page that shows it."""
    lines = (
        (page, line)
        for page in PAGES
        for block in _FENCE.findall(page.read_text())
        for line in block.replace("\\\n", " ").splitlines()
    )
    return [
        (str(page.relative_to(ROOT)), line.removeprefix(".venv/bin/"))
        for page, line in lines
        if re.match(r"(?:\.venv/bin/)?edgewright(-agent)? ", line)
    ]


@pytest.mark.parametrize(("page", "command"), _shown_commands())
def test_shown_commands_exist(page: str, command: str) -> None:
    """A command in a code block is one of the reference's, and each of its options is that command's."""
    words = command.split()
    reference = (REFERENCE / "cli.md").read_text()
    sections = dict(re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", reference, re.M | re.S))
    known = [" ".join(words[:length]) for length in (3, 2) if " ".join(words[:length]) in sections]
    assert known, f"{page} shows a command that docs/reference/cli.md does not have"
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert not [option for option in options if f"{option}`" not in sections[known[0]]]
