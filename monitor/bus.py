"""The bounded queue between listening and computing.

Readers of sockets never wait: when it is full it loses its oldest events and counts them. What is
taken is decided by the time of receipt, so that a replay takes the same at the same instants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from monitor.events import Event, Instrument, Millis


class Heard(msgspec.Struct, frozen=True, gc=False):
    """One frame or answer: of which venue, when it came, what it tells."""

    venue: str
    received: Millis
    events: Sequence[Event]


class Listed(msgspec.Struct, frozen=True):
    """A venue's instruments as just read: all that are ours, and no others."""

    venue: str
    received: Millis
    instruments: Sequence[Instrument]


Item: TypeAlias = Heard | Listed


class Queue:
    """Items in the order of their receipt, at most `limit` events of them."""

    def __init__(self, limit: int = 400_000) -> None:
        self._items: deque[Item] = deque()
        self._limit = limit
        self._events = 0
        self.dropped = 0
        """Events lost so far because nobody took them in time."""

    def put(self, item: Item) -> None:
        """Appends; drops the oldest frames if there would be too many events."""
        self._items.append(item)
        if type(item) is Heard:
            self._events += len(item.events)
            while self._events > self._limit:
                self._drop()

    def _drop(self) -> None:
        for at, item in enumerate(self._items):
            if type(item) is Heard:  # a list of instruments is no state that a newer one replaces
                del self._items[at]
                self._events -= len(item.events)
                self.dropped += len(item.events)
                return

    def take(self, before: Millis) -> Iterator[Item]:
        """Removes and yields what was received before an instant."""
        items = self._items
        while items and items[0].received < before:
            item = items.popleft()
            if type(item) is Heard:
                self._events -= len(item.events)
            yield item

    def __len__(self) -> int:
        return self._events
