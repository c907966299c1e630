"""One gateway for the whole suite: two accounts, a few objects, an open upload of each."""

from collections.abc import Generator, Iterator
from typing import Final

import pytest

from tests.blackbox.process import Credentials, Gateway
from tests.hostile.signing import Signer
from tests.hostile.stage import BIG, Stage
from tests.servers.ground import Ground

SHORT: Final = {
    "SEALGATE_HEADER_TIMEOUT_S": "3",
    "SEALGATE_BODY_TIMEOUT_S": "3",
    "SEALGATE_IDLE_TIMEOUT_S": "3",
}
"""Deadlines that a test can wait for."""


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("hostile")
    gateway = Gateway(folder, ground.settings(folder) | SHORT)
    gateway.start()
    try:
        yield _furnished(gateway, ground)
    finally:
        gateway.close()


@pytest.fixture(autouse=True, scope="module")
def _same_picture(stage: Stage) -> Iterator[None]:
    """At the end of every file all that there is must be as it was, whatever the single tests looked at."""
    stage.settle()
    yield
    stage.same_picture()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the gateway's log beside a failure."""
    report = yield
    held = getattr(item, "funcargs", {}).get("stage")
    if report.failed and isinstance(held, Stage):
        report.sections.append(("end of the gateway's log", held.gateway.log_tail(12)))
    return report


def _furnished(gateway: Gateway, ground: Ground) -> Stage:
    def signer(who: Credentials) -> Signer:
        return Signer(who.access_key_id, who.secret_access_key, f"localhost:{gateway.port}", gateway.region)

    stage = Stage(
        gateway, ground.shelf(gateway), signer(gateway.credentials), signer(gateway.create_account("mallory"))
    )
    stage.is_all_files = ground.has_own_catalogue and ground.has_files
    for who, name in ((stage.alice, "alice"), (stage.mallory, "mallory")):
        done = [
            stage.send(who.header("PUT", f"/{name}-1")),
            stage.send(who.header("PUT", f"/{name}-2")),
            stage.send(who.header("PUT", f"/{name}-1/keep", b"kept")),
            stage.send(who.header("PUT", f"/{name}-1/big", BIG)),
            stage.send(who.header("PUT", f"/{name}-1/empty")),
            stage.send(who.header("PUT", f"/{name}-1/dir/one", b"1")),
            stage.send(who.header("POST", f"/{name}-1/{name}-upload?uploads=")),
        ]
        stage.ids[name] = done[-1].text("UploadId")
        part = f"/{name}-1/{name}-upload?partNumber=1&uploadId={stage.ids[name]}"
        done.append(stage.send(who.header("PUT", part, BIG)))
        stage.ids[f"{name} etag"] = done[-1].headers["etag"]
        page = stage.send(who.header("GET", f"/{name}-1?list-type=2&max-keys=1"))
        stage.ids[f"{name} token"] = page.text("NextContinuationToken")
        assert [answer.status for answer in done] == [200] * len(done), done
    held = 5 if ground.has_files else 11
    assert len(stage.blobs().splitlines()) == held, (
        "of each account, a part and the objects that rest in no row; a realm"
    )
    return stage
