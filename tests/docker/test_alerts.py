"""`docker/alerts.yaml` and `prometheus.yml`, judged by promtool: valid, and every alert fires when it should.

That every metric in them is one that gateways show is seen in `test_topology.py`, of a gateway that serves.
"""

import re
import shutil
from pathlib import Path
from typing import Any, Final

from tests.docker.recipes import DOCKER, documents, run
from tests.tooling.places import ROOT
from tests.tooling.tools import program

_SERIES: Final = ROOT / "tests" / "docker" / "alerts.yaml"


def promtool(*words: str | Path) -> str:
    tool = program("prometheus").parents[1] / "root" / "usr" / "bin" / "promtool"
    done = run(tool, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names(path: Path) -> list[str]:
    (document,) = documents(path)
    return [rule["alert"] for group in document["groups"] for rule in group["rules"]]


def test_the_configuration_and_its_rules_are_valid() -> None:
    told = promtool("check", "config", "--syntax-only", "--lint-fatal", DOCKER / "prometheus.yml")
    assert "SUCCESS" in told
    assert f"{len(names(DOCKER / 'alerts.yaml'))} rules" in promtool(
        "check", "rules", "--lint=all", "--lint-fatal", DOCKER / "alerts.yaml"
    )


def test_every_alert_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    shutil.copy(DOCKER / "alerts.yaml", tmp_path)
    series = tmp_path / "series.yaml"
    shutil.copy(_SERIES, series)
    promtool("test", "rules", series)
    (document,) = documents(_SERIES)
    fired, quiet = (
        {
            case["alertname"]
            for test in document["tests"]
            for case in test["alert_rule_test"]
            if bool(_of(case)) is given
        }
        for given in (True, False)
    )
    assert fired == quiet == set(names(DOCKER / "alerts.yaml"))


def _of(case: Any) -> Any:
    return case.get("exp_alerts")


def test_the_page_for_who_is_on_call_tells_of_every_alert() -> None:
    told = re.findall(r"^\| `(Sealgate\w+)` \|", (ROOT / "docs" / "DEPLOY.md").read_text(), re.MULTILINE)
    assert told == names(DOCKER / "alerts.yaml")
