"""The house as a whole: what the wheel holds, what the locks pin, what tracked files must not say, who times what.

Source: STYLE sections 2, 3 and 7; the core metadata and wheel specifications of PyPA.
"""

import functools
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway.operations.table import OPERATIONS
from tests.gateway.s3.conformance.samples import MODEL
from tests.tooling import runner, suites, support, tools
from tests.tooling.places import LOCKS, ROOT, RUNTIME_LOCK, TEST_LOCK

_PACKAGES: Final = {"gateway", "storage", "keys"}
_LOCK_LINE: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *;[^\\]*)?(?: *\\)?$", re.MULTILINE)


@functools.cache
def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _tracked() -> list[Path]:
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the locked backend without a download."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=60)
    (made,) = folder.glob("*.whl")
    return made


def test_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == _PACKAGES
    assert {f"{package}/py.typed" for package in _PACKAGES} <= set(names)


def test_wheel_has_one_console_script_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        assert archive.read(entry_points).decode().split() == [
            "[console_scripts]",
            "sealgate",
            "=",
            "gateway.cli.main:main",
        ]
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        told = archive.read(metadata).decode()
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert "\nName: sealgate\n" in told
    assert "\nRequires-Python: >=3.11\n" in told


def test_console_script_answers(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("sealgate")
    done = subprocess.run([str(program), "--help"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


@pytest.mark.parametrize("package", sorted(_PACKAGES))
def test_every_module_folder_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    for folder in folders:
        assert (folder / "__init__.py").is_file(), folder


# Spelled in pieces, so that this file does not hold what it forbids.
_FORBIDDEN: Final = {
    "a folder of some machine": re.compile("/" + "work/|/" + "root/|/" + r"home/(?!nonroot)\w|/" + "Users/"),
    "a registry host": re.compile(
        "|".join((r"pypi\." + "org", r"files\.python" + "hosted", r"registry\." + "npmjs", r"proxy\.golang" + r"\.org"))
    ),
    "an index option": re.compile("--(extra-)?" + "index-url|--" + "find-links|--trusted" + "-host"),
}


@pytest.mark.parametrize("what", sorted(_FORBIDDEN))
def test_no_tracked_file_names(what: str) -> None:
    found = []
    tracked = _tracked()
    assert tracked
    for path in tracked:
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in _FORBIDDEN[what].finditer(text)]
    assert found == []


def test_shell_scripts_are_clean() -> None:
    scripts = [path for path in _tracked() if path.read_bytes().startswith(b"#!/bin/sh")]
    assert ROOT / ".ci" / "run" in scripts
    done = subprocess.run(
        [str(tools.program("shellcheck")), *map(str, scripts)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def _locked(lock: Path) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for name, version in _LOCK_LINE.findall(lock.read_text()):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def _group(name: str) -> list[str]:
    members: list[str] = []
    for entry in _project()["dependency-groups"][name]:
        members += _group(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return members


@pytest.mark.parametrize(("lock", "group"), [(RUNTIME_LOCK, "build"), (TEST_LOCK, "dev")], ids=["runtime", "tests"])
def test_lock_satisfies_what_the_project_asks(lock: Path, group: str) -> None:
    versions = _locked(lock)
    for line in [*_project()["project"]["dependencies"], *_group(group)]:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        assert name in versions, f"{name} is not in {lock.name}; run make lock"
        assert all(wanted.specifier.contains(version) for version in versions[name]), f"{line}: {versions[name]}"


def test_tests_run_on_the_versions_that_serve() -> None:
    tested = _locked(TEST_LOCK)
    for name, versions in _locked(RUNTIME_LOCK).items():
        assert tested[name] == versions, name


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, TEST_LOCK, *sorted(LOCKS.glob("*.lock"))], ids=lambda lock: lock.stem)
def test_every_locked_line_has_hashes(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE).strip())
    assert entries
    for entry in entries:
        assert "==" in entry
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_every_tool_from_pypi_is_locked_at_its_pin() -> None:
    for tool in tools.TABLE.values():
        source = tool.sources[0]
        if isinstance(source, tools.Apt | tools.DebianRoot):
            continue  # its version is the one of the distribution
        if isinstance(source, tools.Go):
            # What is compiled is named whole, and Go's own database of sums knows it.
            assert source.module.partition("@")[2].startswith("v"), source.module
            continue
        assert isinstance(source, tools.Pip)
        requirement, _, version = source.requirement.partition("==")
        name = requirement.partition("[")[0]  # its extras are locked as packages of their own
        assert _locked(LOCKS / f"{tool.name}.lock")[canonicalize_name(name)] == [version]


def test_every_package_of_npm_is_locked_by_hash() -> None:
    locks = list(LOCKS.glob("*/package-lock.json"))
    assert locks
    for lock in locks:
        packages = json.loads(lock.read_text())["packages"]
        asked = json.loads(lock.with_name("package.json").read_text())["dependencies"]
        assert packages.pop("")["dependencies"] == asked
        for name, package in packages.items():
            assert package["integrity"].startswith("sha512-"), name
            assert "resolved" not in package, name
        assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked


def _owner(path: Path) -> str:
    """Return the suite that runs a test file: the row with the longest matching path."""
    name = path.relative_to(ROOT / "tests").as_posix()
    rows = [
        (len(own), suite.name)
        for suite in suites.TABLE
        if not suite.over
        for own in suite.paths
        if name == own or name.startswith(f"{own}/")
    ]
    return max(rows)[1] if rows else ""


def test_every_test_file_is_in_a_suite_with_a_budget() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    homeless = [str(path) for path in files if not _owner(path)]
    assert homeless == []
    assert {_owner(path) for path in files} == {suite.name for suite in suites.TABLE if not suite.over}
    for suite in suites.TABLE:
        assert (0 if suite.over else 1) <= suite.budget_s <= suite.full_budget_s
        assert set(suite.needs(full=True)) <= set(tools.TABLE)
        for path in (*suite.paths, *suite.without):
            assert (ROOT / "tests" / path).exists(), path


def test_each_decision_record_has_a_number_of_its_own() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record in records:
        assert record.read_text().startswith(f"# {record.name[:4]}"), record.name


def test_budgets_fit_the_limit_of_ci() -> None:
    budgets = suites.CHECK_BUDGET_S + sum(suite.budget_s for suite in suites.TABLE)
    assert budgets / runner.SIDE_BY_SIDE <= suites.MAX_SUM_BY_LIMIT * suites.CI_LIMIT_S
    assert str(suites.CI_LIMIT_S) in (ROOT / ".ci" / "run").read_text()


def test_the_support_table_is_true() -> None:
    assert support.DOCUMENT.read_text() == support.markdown(), "run make support"


def test_what_is_refused_for_good_is_an_operation_that_is_not_there() -> None:
    assert set(support.REFUSED) <= set(MODEL.operation_names)
    assert not set(support.REFUSED) & set(OPERATIONS)
