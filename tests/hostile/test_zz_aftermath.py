"""After all the other files of this suite: nothing of what was done to the gateway was a defect of it."""

import re

from tests.hostile.stage import NAMED_5XX, Stage


def test_nothing_of_all_that_was_a_defect(stage: Stage) -> None:
    """Defects and damage are counted where nobody can miss them; the suite runs in one process, so here are all."""
    metrics = stage.admin("/metrics").body.decode()
    assert re.search(r"^sealgate_unexpected_errors_total 0\.0$", metrics, re.MULTILINE)
    damage = re.findall(r"^sealgate_damaged_total\{.*\} (.*)$", metrics, re.MULTILINE)
    assert damage
    assert not any(float(count) for count in damage)
    served = re.findall(r'^sealgate_requests_total\{.*status="(5\d\d)"\}', metrics, re.MULTILINE)
    assert set(served) <= {str(status) for status in NAMED_5XX}
    log = stage.gateway.log.read_text()
    assert "Exception in ASGI application" not in log
    assert "Traceback" not in log
    assert "request failed" not in log
