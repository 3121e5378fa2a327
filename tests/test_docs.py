"""The documentation does what it says: commands run, options exist, links lead somewhere, tables match the code."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from pydantic import BaseModel, ValidationError

from flows.cli import app
from sandbox.town import town
from schemas.settings import Connection, Guards, Settings, Switches, read_settings
from tasks import esps, shops
from tasks.run import open_run

if TYPE_CHECKING:
    from tests.conftest import DemoRun

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_SNAPSHOT_ONLY = {"explain", "rejected", "sql"}
KNOWN_TOOLS = {"prefect server start"}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    fenced = re.compile(rf"^( *)```{language}\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        for _, block in fenced.findall(page.read_text(encoding="utf-8")):
            yield page.name, block


def commands() -> list[tuple[str, str]]:
    return sorted({(page, line.strip()) for page, block in blocks("console") for line in block.splitlines() if line.strip()})


def shopsync_commands() -> list[tuple[str, list[str]]]:
    return [(page, shlex.split(line)[1:]) for page, line in commands() if line.startswith("shopsync ")]


def names(found: list[tuple[str, Any]]) -> list[str]:
    return [f"{page}: {what if isinstance(what, str) else ' '.join(what)}" for page, what in found]


@pytest.mark.parametrize(("page", "line"), commands(), ids=names(commands()))
def test_every_command_is_one_that_exists(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "shopsync":
        parse(words[1:])
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[:2] == ["source", ".venv/bin/activate"]:
        pass
    elif words[0] == "export":
        configuration = "".join(page.read_text(encoding="utf-8") for page in PAGES)
        for name in (word.partition("=")[0] for word in words[1:]):
            assert configuration.count(name) > 1, f"nothing reads {name}"
    else:
        assert line in KNOWN_TOOLS


def parse(arguments: list[str]) -> None:
    """As the command line would, without running anything: raises what the command line would say."""
    name, *rest = arguments
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, rest)


def test_prefect_has_the_command_that_the_docs_name() -> None:
    for line in KNOWN_TOOLS:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "prefect"), *line.split()[1:], "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0


SNAPSHOT_COMMANDS = [found for found in shopsync_commands() if found[1][0] in NEEDS_SNAPSHOT_ONLY and "--retry" not in found[1]]


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize(("page", "arguments"), SNAPSHOT_COMMANDS, ids=names(SNAPSHOT_COMMANDS))
def test_commands_that_need_only_a_snapshot_run(page: str, arguments: list[str], demo_run: DemoRun) -> None:
    """On what the demo left behind: its connection is `demo`, and somebody in it stands for the address of the docs."""
    somebody = "new.person1@example.com"
    words = [{"acme": "demo", "somebody@example.com": somebody}.get(word, word) for word in arguments]
    config = ["--config", str(demo_run.folder / "shopsync.toml")]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words, *config],
        cwd=ROOT,
        env=demo_run.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in {"", "No rows."}


LIVE_COMMANDS = {
    tuple(shlex.split(line)[1:]): None  # as the pages tell them, each once
    for _, block in blocks("console")
    for line in map(str.strip, block.splitlines())
    if line.startswith("shopsync ") and (shlex.split(line)[1] not in NEEDS_SNAPSHOT_ONLY or "--retry" in line)
}


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("prefect")
def test_commands_that_talk_to_both_sides_run(tmp_path: Path, prefect_url: Callable[[], str]) -> None:
    """One after the other, on a small sandbox."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SHOPSYNC_"))}
    environment |= {"PREFECT_API_URL": prefect_url(), "PREFECT_HOME": str(tmp_path / "prefect"), "COLUMNS": "200"}
    with town(tmp_path, customers=20, orders=20):
        for arguments in LIVE_COMMANDS:
            words = ["demo" if word == "acme" else word for word in arguments]
            command = [sys.executable, "-m", "flows.cli", *words, "--config", str(tmp_path / "shopsync.toml")]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            assert (done.returncode in {0, 6}, done.stderr) == (True, ""), arguments  # 6: the invented shop has bad rows
            assert done.stdout.strip()


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("demo")
def test_python_that_reads_the_snapshot_runs(demo_run: DemoRun) -> None:
    (code,) = [block for page, block in blocks("python") if page == "snapshot.md"]
    code = code.replace("data/demo/", f"{demo_run.folder}/")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "people" in done.stdout


def test_python_that_serves_the_flows_makes_both_deployments(monkeypatch: pytest.MonkeyPatch) -> None:
    import prefect  # noqa: PLC0415  # loads for seconds, and only this test needs it

    served: list[Any] = []
    monkeypatch.setattr(prefect, "serve", lambda *deployments: served.extend(deployments))
    (code,) = [block for page, block in blocks("python") if page == "operations.md"]
    exec(code, {})
    assert [(d.name, d.flow_name, d.parameters) for d in served] == [
        ("sync acme", "forward", {"connection": "acme"}),
        ("reverse acme", "reverse", {"connection": "acme"}),
    ]


# The file


@pytest.mark.parametrize(("page", "text"), list(blocks("toml")), ids=[page for page, _ in blocks("toml")])
def test_every_sample_of_the_file_can_be_used(page: str, text: str, tmp_path: Path) -> None:
    """A sample of shops alone goes with the ESP of the other samples."""
    esp = 'platform = "mailchimp"\napi_key = { env = "ACME_MAILCHIMP_KEY" }\nlist_id = "a1b2c3d4e5"\n'
    file = tmp_path / "shopsync.toml"
    file.write_text(text if ".esp]" in text else f"{text}\n[connections.acme.esp]\n{esp}", encoding="utf-8")
    settings = read_settings(file)
    environment = {name: f"{name}-us1" for name in re.findall(r'env = "(\w+)"', text)} | {"ACME_MAILCHIMP_KEY": "key-us1"}
    run = open_run(settings, "acme", "check", environment=environment, read_block=lambda name: "")
    assert set(run.shops) in ({"shop"}, {"de", "fr"})


SECTIONS: dict[str, type[BaseModel]] = {
    "[connections.NAME]": Connection,
    "[connections.NAME.guards]": Guards,
    "[connections.NAME.switches]": Switches,
    "A WooCommerce shop": shops.PLATFORMS["woocommerce"][1],
    "A Shopify shop": shops.PLATFORMS["shopify"][1],
    "A Mailchimp audience": esps.PLATFORMS["mailchimp"][1],
}


def table_under(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = page.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_of_the_file_is_described_with_its_default(heading: str) -> None:
    described = {cells[0].strip("`"): cells[1] for cells in table_under(ROOT / "docs" / "configuration.md", heading)}
    fields = SECTIONS[heading].model_fields
    assert list(described) == list(fields)
    for name, field in fields.items():
        if described[name] == "see below":
            continue
        if name == "platform" or field.is_required():
            assert described[name] == "–", name
        elif field.default is None:
            assert described[name] == "none", name
        else:
            stated = tomllib.loads(f"value = {described[name].strip('`')}")["value"]
            assert stated == (list(field.default) if isinstance(field.default, tuple) else field.default), name


def test_the_general_settings_are_described() -> None:
    described = [cells[0].strip("`") for cells in table_under(ROOT / "docs" / "configuration.md", "[settings]")]
    assert described == [name for name in Settings.model_fields if name != "connections"]


def test_the_connector_on_the_page_is_the_one_that_the_contract_tests() -> None:
    """But for the indentation."""
    page = "".join(block for name, block in blocks("python") if name == "add-a-shop.md")
    file = (ROOT / "docs" / "examples" / "larder.py").read_text(encoding="utf-8")
    assert page.split() == file.split(), "copy docs/examples/larder.py into the page"


def test_a_key_that_no_page_names_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Guards.model_validate({"speed": 1})


# What the pages repeat


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", builder().PAGES)
def test_generated_pages_are_fresh(name: str) -> None:
    page = builder().PAGES[name]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page, "run: python docs/build.py"


def test_the_folders_that_the_readme_lists_exist() -> None:
    for cells in table_under(ROOT / "README.md", "Where things live"):
        for folder in re.findall(r"`([^`]+/)`", cells[0]):
            assert (ROOT / folder).is_dir(), folder


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[\[<>=]", dependency)[0] for dependency in project["dependencies"]}
    assert {cells[0].strip("`") for cells in table_under(ROOT / "docs" / "architecture.md", "Dependencies")} == needed


# Links


def links() -> list[tuple[Path, str]]:
    return [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8").replace("\n   ", " "))
    ]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), links(), ids=[f"{page.name}: {link}" for page, link in links()])
def test_links_lead_somewhere(page: Path, link: str) -> None:
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    if anchor:
        assert anchor in anchors(target)
