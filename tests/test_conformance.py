"""Messages that nobody here wrote, and what other projects read in them.

The captures lie beside the repository; without them there are no cases. Every websocket message that a
venue still sends must be read, and every value that its source states for that message alone must agree.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.commands.offline import decode
from monitor.venues import VENUES

CAPTURES = Path(__file__).parents[1].parent / "shared" / "captures"
CHECKED = 176
"""Values that agreed when this was written: a harness that checks less does not check."""
TOLERANCE = 1e-12

OUTSIDE = {
    "lastPrice": "no event has a last price",
    "predictedFundingRate": "a rate of the interval after the running one: no event has it",
    "raw_side": "the venue's own word for `side`, which is checked",
    "notional_usd": "price times size: a join, made in views.py",
    "note": "for the reader",
    "type": "says which fields follow",
    "exchange": "the source's name of the venue",
    "localTimestamp": "when the source received it",
    "id": "not printed by decode",
    "pair": "the source's name of the market; its `symbol` is checked",
    **dict.fromkeys(
        (
            "optionType", "strikePrice", "expirationDate", "bestBidPrice", "bestBidAmount", "bestBidIV",
            "bestAskPrice", "bestAskAmount", "bestAskIV", "markIV", "delta", "gamma", "vega", "theta",
            "rho", "underlyingPrice", "underlyingIndex",
        ),
        "option greeks, quotes and terms: options are not counted",
    ),
}  # fmt: skip
"""Fields of `expected` that our events do not have, with the reason."""

NOTHING = {
    "control": "acknowledgements",
    "last price": "a ticker of last prices: no event has one",
    "no change": "a delta of quotes and volumes alone",
    "no rate": "a funding time without its rate",
    "positional": "rows whose coin only their position in another answer tells",
}
"""Why a message may tell nothing."""


def _cases() -> list[Any]:
    found = []
    for venue in VENUES:
        path = CAPTURES / f"{venue}.ndjson"
        for line in path.read_bytes().splitlines() if path.exists() else ():
            case = json.loads(line)
            if case["transport"] == "ws" and not case.get("legacy"):
                found.append(pytest.param(case, id=f"{venue}-{case['kind']}-{case['id']}"))
    return found


CASES = _cases()


def decoded(case: Mapping[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and events of `decode` on one message."""
    out = io.BytesIO()
    status = decode(VENUES[case["venue"]], io.BytesIO(case["text"].encode() + b"\n"), out)
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


def silence(case: Mapping[str, Any]) -> str | None:
    """Why this message tells nothing, by its own content."""
    said = json.loads(case["text"])
    topic = str(said.get("stream", said.get("topic", said.get("arg", {}).get("channel", ""))))
    data = said.get("data")
    if case["kind"] == "control":
        return "control"
    if topic.endswith(("@ticker", "!ticker@arr")) or topic == "tickers":
        return "last price"
    if case["venue"] == "bybit" and topic.startswith("tickers."):
        facts = {"markPrice", "indexPrice", "openInterest", "fundingRate"}
        return None if facts & {key for key, value in data.items() if value} else "no change"
    if topic == "funding-rate" and not data[0].get("fundingRate"):
        return "no rate"
    return "positional" if said.get("channel") == "allDexsAssetCtxs" else None


def millis(value: object) -> int:
    if isinstance(value, str):
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    return int(str(value))


Check = tuple[str, Any, Any]
"""Field, value of the source, value of ours."""
Events = Sequence[dict[str, Any]]


def _seconds(hours: int) -> int:
    return hours * 3600


def _closed(side: str) -> str:
    """The position: of an order that bought, a short."""
    return {"buy": "short", "sell": "long"}.get(side, side)


FIELDS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    **dict.fromkeys(("markPrice", "mark_price"), (float, "mark", "price")),
    **dict.fromkeys(("openInterest", "open_interest"), (float, "open_interest", "amount")),
    **dict.fromkeys(("fundingRate", "funding_rate"), (float, "funding", "rate")),
    **dict.fromkeys(
        ("fundingTimestamp", "next_funding_time", "funding_time"), (millis, "funding", "next_time_ms")
    ),
    "funding_interval_hours": (_seconds, "funding", "interval_s"),
    "side": (_closed, "liquidation", "position"),
    "price": (float, "liquidation", "price"),
    **dict.fromkeys(("amount", "qty", "size", "contracts"), (float, "liquidation", "amount")),
}
"""Fields that one event has: how to read them, kind and key of the event."""


def checks(case: Mapping[str, Any], events: Events) -> Iterator[Check]:
    """Every value that the source states for this message alone, beside ours."""
    expected = case["expected"]
    if expected is None or silence(case):
        return
    events = [event for event in events if event.get("state") != "settled"]
    rows = expected if isinstance(expected, list) else [expected]
    liquidations = [event for event in events if event["kind"] == "liquidation"]
    if liquidations:
        yield "rows", len(rows), len(liquidations)
    for number, row in enumerate(rows):
        yield from _row(case, row, liquidations[number : number + 1] or events)


def _row(case: Mapping[str, Any], row: Mapping[str, Any], events: Events) -> Iterator[Check]:
    carried = case.get("carried") or ()
    for field, value in row.items():
        if value is None or field in OUTSIDE or field in carried:
            continue
        if field in FIELDS:
            convert, kind, key = FIELDS[field]
            yield field, convert(value), _one(events, kind, key)
        elif field in ("timestamp", "event_time", "timestamp_ms"):
            # Of a merged state it is another message's; equal to the receipt, the message has none.
            if not carried and value != row.get("localTimestamp"):
                yield from ((field, millis(value), event["time_ms"]) for event in events)
        else:
            yield from _of_several(case, field, value, events)


def _of_several(case: Mapping[str, Any], field: str, value: Any, events: Events) -> Iterator[Check]:
    """Fields that more than one event may have."""
    rates = [event for event in events if event["kind"] == "funding"]
    if field in ("indexPrice", "index_price"):
        alone = _one(events, "index", "price")
        yield field, float(value), _one(events, "mark", "index_price") if alone is None else alone
    elif field == "symbol":
        if value != "ALL":  # the source's word for several; one source writes all in capitals
            yield from ((field, value.upper(), event["symbol"].upper()) for event in events)
    elif field == "count":
        yield field, value, len(rates)
    elif field == "items":
        for item, rate in zip(value, rates, strict=True):
            yield from _row(case, item, [rate])
    else:
        pytest.fail(f"{case['id']}: nobody said what {field!r} means")


def _one(events: Events, kind: str, key: str) -> Any:
    """The value of the only event of a kind; None if there is not exactly one."""
    found = [event.get(key) for event in events if event["kind"] == kind]
    return found[0] if len(found) == 1 else None


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_read_and_agrees_with_its_source(case: Mapping[str, Any]) -> None:
    status, events = decoded(case)
    assert status == 0
    why = silence(case)
    assert why is None or why in NOTHING
    assert bool(events) == (why is None)
    assert {event["venue"] for event in events} <= {case["venue"]}
    for field, stated, ours in checks(case, events):
        if isinstance(stated, float):
            assert ours == pytest.approx(stated, rel=TOLERANCE, abs=0), field
        else:
            assert ours == stated, field


@pytest.mark.parametrize("params", [CASES] if CASES else [])
def test_as_many_values_are_checked_as_when_this_was_written(params: Sequence[Any]) -> None:
    cases = [param.values[0] for param in params]
    assert sum(1 for case in cases for _ in checks(case, decoded(case)[1])) >= CHECKED
