"""README and guides say the same in both languages, and every command, link and heading that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from benchmarks.cli import app

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
COMMENT = re.compile(r"(^|\s+)# .*$", re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SESSION_COMMANDS = {"bench": "run", "tutorials": "tutorials", "report": "report"}
"""The nox sessions that hand their arguments to a command of lockstep."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """A README without its fenced blocks."""
    return BLOCK.sub("", read(name))


def heading_levels(name: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(name), re.MULTILINE)]


def blocks(name: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block, without comments, except for output, which has none."""
    return [
        (language, content if language == "text" else COMMENT.sub("", content))
        for language, content in BLOCK.findall(read(name))
    ]


def targets(name: str) -> list[tuple[str, str]]:
    """Where links and pictures lead, in order; "!" marks a picture. The link to the other language is left out."""
    found: list[tuple[str, str]] = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", prose(name))
    return [(mark, target) for mark, target in found if target not in (ENGLISH, CHINESE)]


def in_english(links: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same links, those to a Chinese guide or program as if they led to the English one."""
    return [(mark, re.sub(r"^zh/", "en/", target.replace(".zh-CN.md", ".md"))) for mark, target in links]


def rows(name: str) -> list[str]:
    return [line for line in prose(name).splitlines() if line.startswith("|")]


def numbers(row: str) -> list[str]:
    return re.findall(r"\d+(?:[.,]\d+)*", row.replace("1/", ""))  # "slower" is told as a fraction in Chinese


def code(text: str) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def documents() -> list[str]:
    """Every page of the repository, as a path from its root."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(str(path) for path in paths if not any(part.startswith(".") for part in path.parts))


def anchors(name: str) -> set[str]:
    """What a link to a heading of a page has after its "#"."""
    headings = re.findall(r"^#+ (.*)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[str]:
    """Every command of every page, comment and all: a comment may name further options."""
    found: list[str] = []
    for name in documents():
        consoles = [content for language, content in BLOCK.findall(read(name)) if language == "console"]
        found += [line.removeprefix("$ ") for content in consoles for line in content.splitlines()]
        found += code(prose(name)) if name == ENGLISH else []
    return list(dict.fromkeys(found))


def of_nox() -> list[tuple[str, str]]:
    """Every nox session that is named, and the command that names it."""
    return [(name, command) for command in commands() for name in re.findall(r"nox -s (\S+)", COMMENT.sub("", command))]


def of_lockstep() -> list[tuple[str, str]]:
    """Every command of lockstep that is named, or reached through a nox session, and what was typed."""
    typed = [(name, command) for command in commands() for name in re.findall(r"^(?:uv run )?lockstep (\S+)", command)]
    reached = [(SESSION_COMMANDS[name], command) for name, command in of_nox() if name in SESSION_COMMANDS]
    return typed + reached


def options_of(command: str) -> set[str]:
    """The options of a command of lockstep; raises KeyError if there is no such command."""
    group = typer.main.get_group(app)
    return {option for parameter in group.commands[command].params for option in parameter.opts} | {"--help"}


def test_headings_have_the_same_levels_in_the_same_order() -> None:
    assert heading_levels(CHINESE) == heading_levels(ENGLISH)


def test_blocks_are_the_same_but_for_their_comments() -> None:
    assert blocks(CHINESE) == blocks(ENGLISH)


def test_the_same_names_are_set_in_code() -> None:
    assert set(code(prose(CHINESE))) == set(code(prose(ENGLISH)))


def test_links_and_pictures_lead_to_the_same_places() -> None:
    assert in_english(targets(CHINESE)) == targets(ENGLISH)


@pytest.mark.parametrize("name", documents())
def test_links_and_pictures_lead_to_files_and_headings_that_exist(name: str) -> None:
    for _, target in targets(name):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        assert not heading or heading in anchors(str(path.resolve().relative_to(ROOT))), target


GUIDES = [name for name in documents() if name.endswith(".zh-CN.md") and name != CHINESE]


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_in_chinese_names_nothing_that_the_english_one_does_not(name: str) -> None:
    english = name.replace(".zh-CN.md", ".md")
    assert set(blocks(name)) <= set(blocks(english))
    own = {target for _, target in in_english(targets(name))} - {"README.md"}
    assert own <= {target for _, target in targets(english)}


def test_tables_hold_the_same_numbers() -> None:
    assert [numbers(row) for row in rows(CHINESE)] == [numbers(row) for row in rows(ENGLISH)]


def test_tables_hold_the_same_code() -> None:
    assert [code(row) for row in rows(CHINESE)] == [code(row) for row in rows(ENGLISH)]


@pytest.mark.parametrize(("name", "link"), [(ENGLISH, f"[简体中文]({CHINESE})"), (CHINESE, f"[English]({ENGLISH})")])
def test_the_other_language_is_linked_under_the_title(name: str, link: str) -> None:
    assert read(name).splitlines()[:3] == ["# lockstep", "", link]


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_is_linked_with_its_other_language(name: str) -> None:
    english, folder = name.replace(".zh-CN.md", ".md"), Path(name).parent
    assert f"[English]({Path(english).relative_to(folder)})" in read(name).splitlines()[2]
    assert f"[简体中文]({Path(name).relative_to(folder)})" in read(english).splitlines()[2]


def test_the_readme_is_short() -> None:
    for name in (ENGLISH, CHINESE):
        lines = read(name).splitlines()
        assert len(lines) <= 150
        assert max(len(line) for line in lines if not line.startswith(("|", "!"))) <= 120


@pytest.mark.parametrize(("session", "command"), of_nox())
def test_a_nox_session_exists(session: str, command: str) -> None:
    sessions = re.findall(r"^@nox\.session.*\ndef (\w+)", read("noxfile.py"), re.MULTILINE)
    assert session in sessions, command


@pytest.mark.parametrize(("name", "command"), of_lockstep())
def test_a_command_of_lockstep_exists_and_knows_its_options(name: str, command: str) -> None:
    used = set(re.findall(r"(?<!\S)--[a-z][\w-]*", command))
    assert used <= options_of(name), command
