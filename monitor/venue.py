"""What a venue is: constants and pure functions, no socket, no clock, no state.

A venue file (`venues/<name>.py`) builds one `Venue`. `feed.py` owns its sockets, `rest.py` asks its
REST endpoints; neither knows the name of any venue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

from monitor.events import Event, Instrument, Millis

# The border types of every wire struct. msgspec checks them while it decodes, in C, so that NaN,
# infinities, text and absurd magnitudes never become an event.
Price = Annotated[float, msgspec.Meta(ge=0, lt=1e12)]
Amount = Annotated[float, msgspec.Meta(ge=0, lt=1e18)]
Size = Annotated[float, msgspec.Meta(gt=0, lt=1e18)]
"""Of a contract."""
Rate = Annotated[float, msgspec.Meta(ge=-10, le=10)]
Time = Annotated[Millis, msgspec.Meta(ge=0, lt=2**53)]
"""Only kept within what columns hold: `tables.py` compares every time with the clock."""
Hours = Annotated[int, msgspec.Meta(ge=0, le=24 * 366)]
"""An interval; 0 where the contract has none."""

Instruments: TypeAlias = Mapping[str, Instrument]
"""The instruments of one venue by symbol. A symbol that is absent is not ours: say nothing of it."""


class Refused(Exception):  # noqa: N818 -- reads as what happened
    """The venue said no; the text is its own."""


class Unreadable(Exception):  # noqa: N818 -- reads as what happened
    """A message that this venue's format does not explain."""


class Reply(msgspec.Struct, frozen=True):
    """A text that the venue wants to hear back, such as the answer to its heartbeat."""

    text: str


class Channel(msgspec.Struct, frozen=True):
    """A stream of messages whose life is watched on its own, in events.

    An acknowledgement, a pong or an open socket is no life: only an event of `kinds` is.
    """

    name: str
    kinds: tuple[type[Event], ...]
    silent_after_s: float = 30.0
    """Without an event for so long the channel is silent and is subscribed again."""
    quiet: bool = False
    """True where silence is normal (liquidations): then the socket's other channels and its
    heartbeat vouch for it."""


class Topic(msgspec.Struct, frozen=True):
    """One subscription: a channel and what the venue calls it for one instrument."""

    channel: str
    name: str


class Endpoint(msgspec.Struct, frozen=True):
    """One websocket address of a venue, and what is subscribed there."""

    path: str
    """Appended to `Venue.ws_url`."""
    topics: Callable[[Sequence[Instrument]], Sequence[Topic]]
    per_connection: int = 100
    """Topics of one socket; more are split over several."""


class Request(msgspec.Struct, frozen=True):
    """One question by HTTP."""

    path: str
    """Appended to `Venue.rest_url`, with the query."""
    weight: float = 1.0
    """What it costs of the venue's budget."""
    body: str | None = None
    """Sent by POST as JSON; None is a GET."""


class Budget(msgspec.Struct, frozen=True):
    """What a venue allows by REST. Venues with the same `name` share it."""

    name: str
    weight: float
    """Weight that we allow ourselves in `per_s`: below the documented limit, others share the address."""
    per_s: float = 60.0
    refusals: tuple[int, ...] = (418, 429)
    """Statuses by which the venue asks for patience."""
    patience_s: float = 60.0
    """For how long, where it does not say."""


class Poll(msgspec.Struct, frozen=True):
    """A fact told only by REST."""

    channel: Channel
    requests: Callable[[Sequence[Instrument]], Sequence[Request]]
    parse: Callable[[bytes, Instruments, Millis], Sequence[Event]]
    every_s: float


class InstrumentList(msgspec.Struct, frozen=True):
    """How the venue's instruments are read: some requests, and one reading of all their answers."""

    requests: tuple[Request, ...]
    parse: Callable[[Sequence[bytes]], Sequence[Instrument]]
    """Answers in the order of `requests` (and of their pages) → instruments of every kind."""
    next_page: Callable[[Request, bytes], Request | None] | None = None
    """The request of the page that follows an answer, where the venue pages."""
    every_s: float = 600.0


LiquidationFeed = Literal["complete", "throttled", "none"]


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """A derivatives exchange. `docs/ADD_A_VENUE.md` says how to write one."""

    name: str
    title: str
    ws_url: str
    rest_url: str
    endpoints: tuple[Endpoint, ...]
    channels: tuple[Channel, ...]
    """Channels of the sockets; those of `polls` are theirs."""
    subscribe: Callable[[Sequence[Topic]], Sequence[str]]
    """Text frames that subscribe topics, split as the venue limits one request."""
    unsubscribe: Callable[[Sequence[Topic]], Sequence[str]]
    parse: Callable[[bytes, Instruments, Millis], Sequence[Event | Reply]]
    """One frame as it came off the socket (inflated), the instruments, the time of receipt.

    Raises:
        Refused: the venue refuses something we asked.
        Unreadable: the format does not explain the frame.
    """
    rule: Callable[[str], Instrument | None]
    """The instrument that a symbol must be by the venue's naming alone; None where it says nothing."""
    instruments: InstrumentList
    budget: Budget
    polls: tuple[Poll, ...] = ()
    hello: tuple[str, ...] = ()
    """Text frames sent once, before the first subscription."""
    ping: str | None = None
    """Text frame that keeps the connection alive, where the venue wants one from us."""
    ping_every_s: float = 20.0
    sends_per_s: float = 5.0
    """Frames that we send in one second at the most."""
    liquidation_feed: LiquidationFeed
    """`complete`: every liquidation. `throttled`: a sample, hence a lower bound. `none`: no public feed."""
    liquidation_evidence: str
    """What the liquidation's side names and how complete the feed is, and who says so."""
    oi_evidence: str
    """How open interest is counted, and who says so."""


class ByRule(dict[str, Instrument]):
    """Instruments by the venue's naming rule alone: for `decode`, and a replay before the first list."""

    def __init__(self, rule: Callable[[str], Instrument | None]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, symbol: str) -> Instrument:
        """Made at its first mention, so that it stays one object."""
        found = self._rule(symbol)
        if found is None:
            raise KeyError(symbol)
        self[symbol] = found
        return found

    def get(self, symbol: str, _default: object = None) -> Instrument | None:  # type: ignore[override]
        """The instrument of a symbol, or None."""
        try:
            return self[symbol]
        except KeyError:
            return None


_MULTIPLE = re.compile(r"(1000000|100000|10000|1000|1M(?=[A-Z]{3}))(?=[A-Z])")
_ALIAS = {"XBT": "BTC"}
DOLLARS = frozenset({"USD", "USDT", "USDC", "USDE", "BUSD", "FDUSD", "USD1", "USDG"})
"""Quote currencies that count as dollars. A depeg is the operator's to see: the quote is in `_info`."""


def asset_of(base: str) -> tuple[str, float]:
    """Asset and multiplier of a venue's base currency: `1000PEPE` → PEPE, 1000; `XBT` → BTC, 1."""
    if found := _MULTIPLE.match(base):
        size = 1e6 if found[1] == "1M" else float(found[1])
        return base[found.end() :], size
    return _ALIAS.get(base, base), 1.0


def batches(topics: Sequence[Topic], size: int) -> Iterable[Sequence[Topic]]:
    """Topics in runs of at most `size`."""
    return (topics[at : at + size] for at in range(0, len(topics), size))
