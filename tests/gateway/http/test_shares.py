"""Shares of the requests that are answered at once."""

import contextvars

import pytest

from gateway.engine.turns import OURSELVES, SERVED
from gateway.http.shares import NOBODY, Place, RequestShares
from gateway.s3.errors import SLOW_DOWN, S3Error


def test_an_account_has_its_share_and_no_more() -> None:
    refusals: list[None] = []
    shares = RequestShares(2, lambda: refusals.append(None))
    places = [Place(shares) for _ in range(4)]
    for place in places[:2]:
        place.take("one")
    with pytest.raises(S3Error) as refused:
        places[2].take("one")
    assert (refused.value.row, refused.value.headers["Retry-After"], len(refusals)) == (SLOW_DOWN, "1", 1)
    places[2].take("two")
    places[0].end()
    places[3].take("one")
    assert len(refusals) == 1


def test_what_is_shared_out_beneath_is_told_whom_it_is_for() -> None:
    def told() -> None:
        place = Place(RequestShares(1, lambda: None))
        assert SERVED.get() == OURSELVES
        place.take(NOBODY)
        assert SERVED.get() == NOBODY
        place.take("one")
        assert SERVED.get() == "one"
        place.end()
        assert SERVED.get() == NOBODY

    contextvars.Context().run(told)


def test_a_place_counts_for_one_account_at_a_time() -> None:
    shares = RequestShares(1, lambda: None)
    place = Place(shares)
    place.take(NOBODY)
    place.take("one")
    Place(shares).take(NOBODY)
    with pytest.raises(S3Error):
        Place(shares).take("one")
    place.end()
    place.end()
    Place(shares).take("one")


def test_whoever_is_refused_has_no_place_left() -> None:
    shares = RequestShares(1, lambda: None)
    held, moving = Place(shares), Place(shares)
    held.take("one")
    moving.take(NOBODY)
    with pytest.raises(S3Error):
        moving.take("one")
    moving.end()
    Place(shares).take(NOBODY)
    held.end()
    Place(shares).take("one")
