"""The only code that asks by HTTP: instrument lists, and facts told only by REST.

A budget is spent before each request; 429 and 418 stop all requests of the budget for as long as the
venue says.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, Self

import aiohttp
from aiolimiter import AsyncLimiter

from monitor.venue import Budget, InstrumentList, Request

TIMEOUT_S = 10.0
LARGEST = 64 << 20
"""Bytes of an answer; the largest list of instruments has 3 MB."""
PAGES = 50


class RestError(Exception):
    """The question was not answered. The text is short and names status or reason."""


class Answered(RestError):  # noqa: N818 -- reads as what happened
    """With another status than 200."""

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"HTTP {status} at {path.partition('?')[0]}")
        self.status = status


class Throttled(RestError):  # noqa: N818 -- reads as what happened
    """The venue asks for patience, `seconds` of it."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(f"HTTP {status}, asked to wait {seconds:.0f} s")
        self.seconds = seconds


def retry_after(value: str | None, default: float) -> float:
    """Seconds of a `Retry-After` header: a number or a date; the default if absent or nonsense."""
    if value is None:
        return default
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, LookupError, ArithmeticError):  # the parser of dates raises all
            return default
    return min(max(seconds, 0.0), 86_400.0) if math.isfinite(seconds) else default


class Host(Protocol):
    """Who is asked: a venue, or a source of its past."""

    @property
    def rest_url(self) -> str:
        """Base address."""

    @property
    def budget(self) -> Budget:
        """What it allows."""


class Listing(Host, Protocol):
    """Who has a list of instruments."""

    @property
    def instruments(self) -> InstrumentList:
        """How it is read."""


class Rest:
    """Asks within the budgets. One for the whole program, used as an async context manager."""

    def __init__(self) -> None:
        self._limiters: dict[str, AsyncLimiter] = {}
        self._paused: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            headers={"User-Agent": "leverage-monitor"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, venue: Host, request: Request) -> bytes:
        """The body of the answer.

        Raises:
            Throttled: by status 429 or 418; until then every `ask` of the budget waits.
            RestError: unreachable, too slow, too large, or another status than 200.
        """
        budget = venue.budget
        await self._spend(budget, request.weight)
        method, body = ("GET", None) if request.body is None else ("POST", request.body)
        try:
            async with self._session.request(
                method, venue.rest_url + request.path, data=body, allow_redirects=False,
                headers={"Content-Type": "application/json"} if body else None,
            ) as answer:  # fmt: skip
                if answer.status in budget.refusals:
                    seconds = retry_after(answer.headers.get("Retry-After"), budget.patience_s)
                    self._pause(budget, seconds)
                    raise Throttled(answer.status, seconds)
                if answer.status != 200:  # noqa: PLR2004 -- OK
                    raise Answered(answer.status, request.path)
                read = bytearray()
                async for chunk in answer.content.iter_any():
                    read += chunk
                    if len(read) > LARGEST:
                        raise RestError(f"answer of more than {LARGEST >> 20} MiB")
                return bytes(read)
        except TimeoutError as error:
            raise RestError(f"no answer in {TIMEOUT_S:.0f} s") from error
        except aiohttp.ClientError as error:
            raise RestError(str(error) or type(error).__name__) from error

    async def instruments(self, venue: Listing) -> Sequence[bytes]:
        """All answers that list the venue's instruments, pages after their first.

        Raises:
            RestError: one of them failed.
            Refused, Unreadable: a page could not be read.
        """
        found = []
        following = venue.instruments.next_page
        for first in venue.instruments.requests:
            request: Request | None = first
            for _ in range(PAGES):
                if request is None:
                    break
                body = await self.ask(venue, request)
                found.append(body)
                request = following(request, body) if following else None
        return found

    async def _spend(self, budget: Budget, weight: float) -> None:
        loop = asyncio.get_running_loop()
        limiter = self._limiters.get(budget.name)
        if limiter is None:
            limiter = self._limiters[budget.name] = AsyncLimiter(budget.weight, budget.per_s)
        await limiter.acquire(min(weight, budget.weight))
        # The pause comes last: the venue may have asked for it while we waited for our turn.
        while (wait := self._paused.get(budget.name, 0.0) - loop.time()) > 0:
            await asyncio.sleep(wait)

    def _pause(self, budget: Budget, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._paused[budget.name] = max(until, self._paused.get(budget.name, 0.0))
