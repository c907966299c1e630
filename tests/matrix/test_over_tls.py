"""The cases of the matrix once more, sent over TLS to the real process, in bulk.

Every refusal by a policy is sent and a third of the others, and what there is looked at once when all are through.
What succeeds changes what there is, so of that each operation and caller goes one way, another one for each operation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest

from tests.blackbox.process import Gateway
from tests.matrix.routes import ROUTES
from tests.matrix.test_matrix import CASES, DENIED, NO_FORM, Verdict, expected, is_refusal, see
from tests.matrix.test_policies import (
    ACTIONS,
    EVERYONE,
    OWNER_ALWAYS,
    TELLS_IN_ITS_DOCUMENT,
    Policies,
    allowed_verdict,
    statement,
)
from tests.matrix.ways import WAYS
from tests.matrix.world import World, over_tls
from tests.servers.ground import Ground

Case = tuple[str, str, str, Verdict]
"""Operation, way, caller, and what it comes to."""

_SHARE: Final = 3
"""One of so many cases without a policy is sent: they are ten times those of any other column."""
_READS: Final = frozenset({"GET", "HEAD"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("matrix")
    gateway = Gateway(folder, ground.settings(folder))
    gateway.start()
    try:
        with over_tls(gateway) as made:
            yield made
    finally:
        gateway.close()


@pytest.fixture
def policies(world: World) -> Iterator[Policies]:
    made = Policies(world)
    yield made
    made.clear()


def drive(
    world: World,
    cases: Sequence[Case],
    put: Callable[[], None] = lambda: None,
    clear: Callable[[], None] = lambda: None,
) -> None:
    """Send all that is refused, then one way of all that is not; `put` and `clear` are for what policies there be."""

    clear()
    world.make()
    clear()
    before = world.wire.changes()
    put()
    for operation, way, caller, verdict in cases:
        if is_refusal(verdict):
            see(world, world.placed(ROUTES[operation]), operation, way, caller, verdict)
    clear()
    assert before == world.wire.changes(), "a refusal changes nothing"
    put()
    passing: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        if not is_refusal(case[3]):
            passing.setdefault((case[0], case[2]), []).append(case)
    for number, ways in enumerate(passing.values()):
        operation, way, caller, verdict = ways[number % len(ways)]
        see(world, world.placed(ROUTES[operation]), operation, way, caller, verdict)
        if ROUTES[operation].method not in _READS:
            clear()
            world.make()
            put()


def test_without_a_policy(world: World) -> None:
    drive(world, [(*case, expected(*case)) for case in CASES[::_SHARE]])


def signed_ways(operation: str) -> list[str]:
    return [way for way in WAYS if way != "anonymous" and (way == "form") == (operation == "PostObject")]


def under(world: World, policies: Policies, cases: Sequence[Case], *statements: dict[str, Any]) -> None:
    drive(world, cases, lambda: policies.put(*statements), policies.clear)


def test_what_a_policy_allows_another_account(world: World, policies: Policies) -> None:
    cases = [
        (name, way, "another account", allowed_verdict(name, way)) for name in ACTIONS for way in signed_ways(name)
    ]
    under(world, policies, cases, statement("Allow", policies.bob, "s3:*"))


def test_what_a_policy_allows_everyone(world: World, policies: Policies) -> None:
    cases = [(name, "anonymous", "owner", allowed_verdict(name, "anonymous")) for name in ACTIONS]
    under(world, policies, cases, statement("Allow", EVERYONE, "s3:*"))


DENIABLE: Final = [name for name in ACTIONS if name not in TELLS_IN_ITS_DOCUMENT]


def test_what_a_policy_denies_another_account(world: World, policies: Policies) -> None:
    cases = [(name, way, "another account", DENIED) for name in DENIABLE for way in signed_ways(name)]
    statements = statement("Allow", policies.bob, "s3:*"), statement("Deny", policies.bob, "s3:*")
    under(world, policies, cases, *statements)


def test_what_a_policy_denies_everyone(world: World, policies: Policies) -> None:
    cases = [(name, "anonymous", "owner", NO_FORM if name == "PostObject" else DENIED) for name in DENIABLE]
    under(world, policies, cases, statement("Allow", EVERYONE, "s3:*"), statement("Deny", EVERYONE, "s3:*"))


def test_what_a_policy_denies_its_owner(world: World, policies: Policies) -> None:
    cases = [
        (name, way, "owner", expected(name, way, "owner") if name in OWNER_ALWAYS else DENIED)
        for name in DENIABLE
        for way in signed_ways(name)
    ]
    under(world, policies, cases, statement("Deny", policies.alice, "s3:*"))
