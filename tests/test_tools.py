"""ruff, mypy, and the generated pages, as tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.commands.catalogue import reference
from monitor.venues import VENUES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["ruff check", "ruff format", "mypy --strict"],
)
@pytest.mark.timeout(300)
def test_tool_is_content(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_catalogue_page_is_up_to_date() -> None:
    assert (ROOT / "docs/METRICS.md").read_text() == reference(), "run `make docs`"


def test_every_venue_is_documented_with_its_evidence() -> None:
    text = (ROOT / "docs/VENUES.md").read_text()
    for venue in VENUES.values():
        assert f"`{venue.name}`" in text
        assert venue.oi_evidence in text
        assert venue.liquidation_evidence in text


def test_the_lock_pins_every_dependency() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    names = re.findall(r'^    "([A-Za-z-]+)>=', project, re.MULTILINE)
    assert len(names) > 15
    for name in names:
        assert f"\n{name.lower()}==" in lock, name
    assert "://" not in "".join(line for line in lock.splitlines() if "#" not in line)


def test_documents_name_only_files_that_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for line in page.read_text().splitlines():
            for part in line.split("](")[1:]:
                target = part.split(")")[0].split("#")[0]
                if target and "://" not in target:
                    assert (page.parent / target).exists(), f"{page.name}: {target}"
