"""A gateway with a defect beside one that has none: their histories are found to be those of no register."""

import random
from pathlib import Path

import pytest

from tests.blackbox.process import Gateway
from tests.several.conftest import Start
from tests.several.defective import DEFECTS, DefectiveGateway
from tests.several.history import History, begin, finish, run_clients

OPERATIONS = 300


@pytest.fixture(scope="module")
def healthy(start: Start) -> Gateway:
    return start(1, SEALGATE_LOG_LEVEL="info")[0]


def broken_keys(gateways: list[Gateway], seed: int) -> list[str]:
    """Keys of an undisturbed history that were no register."""
    history = History(random.Random(seed), OPERATIONS)
    begin(history, gateways[0])
    for thread in run_clients(history, gateways):
        thread.join()
    assert history.failures == []
    finish(history, gateways)
    return history.broken_keys()


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found(healthy: Gateway, seed: int, tmp_path: Path, defect: str) -> None:
    defective = DefectiveGateway(tmp_path, healthy._settings, beside=healthy)
    defective.defect = defect
    defective.start()
    try:
        assert broken_keys([healthy, defective], seed) != []
    finally:
        defective.close()
