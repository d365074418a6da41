"""What every simulated venue says in its own way, and how it tells the market's numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

from aiohttp import web

from monitor.clock import Clock
from monitor.events import Millis
from monitor.simulated.connection import Connection
from monitor.simulated.listings import LISTINGS, Listing
from monitor.simulated.market import Forced, Market
from monitor.simulated.wire import biggest, last_of_each_second

Fault: TypeAlias = Literal["silent", "gone", "rubbish", "scaled", "throttled", "replay"]
"""What can be wrong with a venue.

`silent`: sockets stay open and are answered, no data is sent. `gone`: sockets are cut, new ones and
REST are refused. `rubbish`: data frames are broken JSON or of wrong types. `scaled`: open interest
and mark are 1000 times too big. `throttled`: REST answers 429. `replay`: each new subscription of
liquidations first gets those of the last 30 s again.
"""


class Family(ABC):
    """The words of a venue; `Exchange` adds the port."""

    silence_close: ClassVar[tuple[int, bytes]] = (1000, b"")
    """Close code and reason for a client that was silent for too long."""
    heard_within_s: ClassVar[float | None] = None
    """The client has to send something in so many seconds."""
    told_within_s: ClassVar[float | None] = None
    """The socket is closed where the venue itself had nothing to send for so many seconds."""
    ping_every_s: ClassVar[float | None] = None
    """Seconds between the venue's ping frames."""
    throttled_body: ClassVar[object] = None

    def __init__(self, name: str, market: Market, clock: Clock) -> None:
        self.name = name
        self.market = market
        self.clock = clock
        self.listings = LISTINGS[name]
        self.symbols = {listing.symbol: listing for listing in self.listings}
        self.second = 1.0
        """Wall seconds of a protocol second (heartbeats, idle limits); shorter in tests."""
        self._fault: Fault | None = None

    @abstractmethod
    def accepts(self, path: str) -> bool:
        """Whether there are sockets at a path."""

    def opened(self, connection: Connection) -> None:  # noqa: B027 -- most do nothing
        """A socket was opened; its path may subscribe already."""

    @abstractmethod
    def hear(self, connection: Connection, text: str) -> Sequence[bytes]:
        """Answers to one frame of a client."""

    def cadence(self, topic: str) -> int:  # noqa: ARG002 -- families differ
        """Beats from one `tell` of a topic to the next."""
        return 1

    @abstractmethod
    def tell(self, topic: str, since: Millis, now: Millis) -> Sequence[bytes]:
        """What a topic's subscribers get for the time [since, now)."""

    def greet(self, topic: str, now: Millis) -> Sequence[bytes]:
        """What a new subscriber gets at once."""
        return self.tell(topic, now, now)

    @abstractmethod
    def is_liquidations(self, topic: str) -> bool:
        """Whether a topic brings liquidations."""

    def heartbeat(self, connection: Connection, wall: float) -> bytes | None:  # noqa: ARG002
        """A frame that the venue wants answered, where it is time for one."""
        return None

    @abstractmethod
    def rest(self, request: web.Request, body: bytes) -> web.Response:
        """The answer to a REST request."""

    # Prices and amounts, as this venue tells them.

    def mark(self, listing: Listing, now: Millis) -> float:
        """Mark price as told, hence scaled where that is the fault."""
        return self.market.mark(listing, now) * self._scale

    def open_interest(self, listing: Listing, now: Millis) -> float:
        """Open interest as told, in the venue's unit."""
        return self.market.open_interest(listing, now) * self._scale

    @property
    def _scale(self) -> float:
        return 1000.0 if self._fault == "scaled" else 1.0

    def forced(self, listing: Listing, since: Millis, now: Millis) -> list[Forced]:
        """Every liquidation of [since, now)."""
        return biggest(list(self.market.liquidations(listing, since, now)))

    def forced_throttled(self, listing: Listing, since: Millis, now: Millis) -> list[Forced]:
        """The latest liquidation of each second that ended in [since, now)."""
        since, now = since // 1000 * 1000, now // 1000 * 1000
        return biggest(last_of_each_second(self.market.liquidations(listing, since, now)))
