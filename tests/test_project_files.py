"""The files around the code: what hosts and tools read of them has the form that these expect."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-workflows", ROOT / ".github" / "workflows" / "ci.yml"),
        ("github-issue-forms", TEMPLATES / "fault.yml"),
        ("github-issue-forms", TEMPLATES / "wish.yml"),
        ("github-issue-config", TEMPLATES / "config.yml"),
        ("citation-file-format", ROOT / "CITATION.cff"),
    ],
    ids=lambda each: each.name if isinstance(each, Path) else each,
)
def test_a_file_fits_its_schema(schema: str, file: Path) -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schemas_refuse_what_is_wrong(tmp_path: Path) -> None:
    """Or the test above would hold of anything."""
    pytest.importorskip("check_jsonschema")
    (tmp_path / "ci.yml").write_text("on: push\njobs:\n  linux:\n    runs: nothing\n")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    assert subprocess.run([*command, str(tmp_path / "ci.yml")], capture_output=True, check=False).returncode == 1


def test_the_workflow_runs_what_decides_here_on_every_python_that_is_named() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    linux = workflow["jobs"]["linux"]
    assert "bash .ci/run" in [step.get("run") for step in linux["steps"]]
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert set(named) < set(linux["strategy"]["matrix"]["python"])  # and on the next one, which nobody has tried


def test_one_version_is_named() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md"])
def test_what_a_page_links_to_is_there(name: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert targets
    assert all((ROOT / target).exists() for target in targets if "://" not in target)


def test_the_targets_that_contributors_are_told_exist() -> None:
    told = set(re.findall(r"make ([\w-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert told and told <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
