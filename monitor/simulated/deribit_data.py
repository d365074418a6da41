"""Tickers, trades and instruments as Deribit writes them."""

from __future__ import annotations

from typing import Any

from monitor.events import Millis
from monitor.simulated.listings import Listing
from monitor.simulated.market import HOUR, Forced, Market
from monitor.simulated.noise import draw, key_of
from monitor.simulated.wire import short

_DEAD_BAND = 0.000025
_NEVER = 32_503_708_800_000


def _tick(listing: Listing) -> float:
    return 0.5 if listing.asset == "BTC" else 0.05


def _to(value: float, step: float) -> float:
    return float(round(round(value / step) * step, 8))


def ticker(market: Market, listing: Listing, now: Millis, mark: float, held: float) -> dict[str, Any]:
    """A full ticker; a dated future has no funding."""
    tick, index = _tick(listing), round(market.index_price(listing, now), 2)
    day = market.mark(listing, now - 24 * HOUR)
    inverse = listing.margin == "inverse"
    volume = listing.size / (day if inverse else 1.0)
    usd = short(_to(volume * day, listing.contract_size))
    funding: dict[str, Any] = {}
    if listing.kind == "perpetual":
        rate = market.funding(listing, now)
        hours = [market.funding(listing, now - 2 * hour * HOUR) for hour in range(5)]
        funding = {
            "current_funding": short(round(rate, 8) if abs(rate) >= _DEAD_BAND else 0.0),
            "estimated_delivery_price": short(index), "funding_8h": short(round(sum(hours) / 5, 8)),
        }  # fmt: skip
        funding = {"interest_value": short(rate / 5)} | funding
    stats = {
        "high": short(_to(day * 1.06, tick)), "low": short(_to(day * 0.8, tick)),
        "price_change": short(round((mark / day - 1) * 100, 4)),
        "volume": short(round(volume, 8)), "volume_usd": usd, "volume_notional": usd,
    }  # fmt: skip
    last, size = _to(mark, tick), listing.contract_size
    return {
        "timestamp": now, "state": "open", "stats": stats, "index_price": short(index),
        "instrument_name": listing.symbol, "last_price": short(last),
        "settlement_price": short(round(day, 2)), "min_price": short(_to(mark * 0.985, tick)),
        "max_price": short(_to(mark * 1.015, tick)),
        "open_interest": int(_to(held, size)) if inverse else short(_to(held, size)),
        "mark_price": short(round(mark, 2)),
        **(funding or {"estimated_delivery_price": short(index)}),
        "best_ask_price": short(_to(last + tick, tick)), "best_bid_price": short(last),
        "best_ask_amount": short(_to(size * 2000 * (1 + draw(6, now)), size)),
        "best_bid_amount": short(_to(size * 2000 * (1 + draw(7, now)), size)),
    }  # fmt: skip


def liquidation(market: Market, row: Forced) -> dict[str, Any]:
    """A trade of which one side was liquidated: `T` the taker, `M` the maker.

    The direction is the taker's, so that of a liquidated maker's trade is the other one.
    """
    side = "M" if draw(8, row.number) < 0.2 else "T"
    sold = (row.position == "long") == (side == "T")
    # Even numbers are liquidations, odd ones ordinary trades.
    trade = _trade(market, row.listing, row.number * 2, row.time)
    return trade | _deal(row.listing, row.price, row.amount, sold=sold) | {"liquidation": side}


def trades(market: Market, listing: Listing, since: Millis, now: Millis) -> list[dict[str, Any]]:
    """Ordinary trades of [since, now), about one in a second; of a minute at the most."""
    since = max(since, now - 60_000)
    key = key_of(market.seed, "trades", listing.symbol)
    rows = []
    for second in range(since // 1000, (now - 1) // 1000 + 1 if now > since else 0):
        for place in range(int(draw(key, second * 4) * 3)):
            time = second * 1000 + int(draw(key, second * 4 + 1 + place) * 1000)
            if since <= time < now:
                amount = listing.step * (1 + int(draw(key + 1, time) * 900))
                price, sold = market.mark(listing, second * 1000), draw(key + 2, time) < 0.5
                number = (second * 64 + place) * 2 + 1
                trade = _trade(market, listing, number, time)
                rows.append(trade | _deal(listing, price, amount, sold=sold))
    return rows


def _trade(market: Market, listing: Listing, number: int, time: Millis) -> dict[str, Any]:
    own = {"BTC-PERPETUAL", "BTC-25DEC26"}
    prefix = "" if listing.symbol in own else f"{listing.symbol.removesuffix('-PERPETUAL')}-"
    second = time // 1000 * 1000
    return {
        "trade_seq": number, "trade_id": f"{prefix}{number * 8 + (listing.expiry is not None)}",
        "timestamp": time, "tick_direction": int(draw(9, number) * 4),
        "mark_price": short(round(market.mark(listing, second), 2)),
        "instrument_name": listing.symbol,
        "index_price": short(round(market.index_price(listing, second), 2)),
    }  # fmt: skip


def _deal(listing: Listing, price: float, amount: float, *, sold: bool) -> dict[str, Any]:
    return {
        "price": short(_to(price, _tick(listing))), "direction": "sell" if sold else "buy",
        "contracts": short(round(amount / listing.contract_size, 1)),
        "amount": short(_to(amount, listing.contract_size)),
    }  # fmt: skip


def info(listing: Listing) -> dict[str, Any]:
    """A row of `get_instruments`."""
    inverse, dated = listing.margin == "inverse", listing.expiry is not None
    return {
        "instrument_name": listing.symbol, "kind": "future",
        "instrument_type": "reversed" if inverse else "linear", "future_type":
            "reversed" if inverse else "linear",
        "base_currency": listing.asset, "quote_currency": listing.quote,
        "counter_currency": listing.quote,
        "settlement_currency": listing.asset if inverse else listing.quote,
        "settlement_period": "month" if dated else "perpetual",
        "expiration_timestamp": listing.expiry or _NEVER, "creation_timestamp": 1534167754000,
        "contract_size": listing.contract_size, "min_trade_amount": listing.step,
        "tick_size": _tick(listing), "tick_size_steps": [],
        "price_index": f"{listing.asset.lower()}_{listing.quote.lower()}",
        "max_leverage": 50, "maker_commission": 0.0, "taker_commission": 0.0005,
        "is_active": True, "state": "open", "rfq": False,
        "instrument_id": 210838 + len(listing.symbol),
    }  # fmt: skip
