"""What surrounds the endpoint: the request's id and record, its line in the access log, and the limit on how many.

Both are plain ASGI: they see no body and hold none.
"""

import time
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.answers import common_headers, encode_headers, new_request_id
from gateway.http.endpoint import RECORD
from gateway.s3.errors import SLOW_DOWN, S3Error
from gateway.s3.serialising.errors import error_response
from gateway.telemetry import RequestRecord, Telemetry


class RequestLog:
    """Gives every request its id and record, and writes both the log and the counters when it is over."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; everything that is not HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id=new_request_id(), method=scope["method"])
        scope.setdefault("state", {})[RECORD] = record
        try:
            with self._telemetry.in_flight.track_inprogress():
                await self._app(scope, receive, send)
        finally:
            self._telemetry.request_done(record, time.monotonic() - record.began)


class ConcurrencyLimit:
    """Answers 503 SlowDown while `most` requests are being answered; nothing waits in a queue that could grow."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, most: int) -> None:
        assert most > 0
        self._app = app
        self._telemetry = telemetry
        self._free = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it without looking at it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._free > 0:
            self._free -= 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._free += 1
        else:
            await self._refuse(scope, send)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        record: RequestRecord = scope["state"][RECORD]
        record.status, record.error_code = SLOW_DOWN.status, SLOW_DOWN.code
        self._telemetry.shed.inc()
        refusal = S3Error(SLOW_DOWN, headers={"Retry-After": "1"})
        response = error_response(refusal, record.request_id, scope["raw_path"], scope["method"] == "HEAD")
        body = cast("bytes", response.body)
        headers = [
            *common_headers(record.request_id),
            *encode_headers(response.headers),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
