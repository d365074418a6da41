"""Bodies of the REST answers of Binance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.events import Millis
from monitor.simulated.listings import Listing
from monitor.simulated.wire import amount

_NEVER = 4_133_404_800_000
_ONBOARD = 1_569_398_400_000


def pair_of(listing: Listing) -> str:
    """The pair of a symbol: `BTCUSD` of `BTCUSD_PERP`."""
    return listing.symbol.partition("_")[0]


def exchange_info(listings: Sequence[Listing], now: Millis) -> dict[str, Any]:
    """`exchangeInfo`, with the symbols that only settle."""
    coin_margined = listings[0].venue == "binance_coinm"
    limit = {
        "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400,
    }  # fmt: skip
    info: dict[str, Any] = {
        "timezone": "UTC", "serverTime": now, "rateLimits": [limit], "exchangeFilters": [],
    }  # fmt: skip
    if not coin_margined:
        quotes = sorted({listing.quote for listing in listings})
        info["futuresType"] = "U_MARGINED"
        info["assets"] = [{"asset": quote, "marginAvailable": True} for quote in quotes]
    symbols = [_coin_symbol(one) if coin_margined else _usd_symbol(one) for one in listings]
    return info | {"symbols": symbols}


def _usd_symbol(listing: Listing) -> dict[str, Any]:
    dated = listing.kind == "future"
    return {
        "symbol": listing.symbol, "pair": pair_of(listing),
        "contractType": "CURRENT_QUARTER" if dated else "PERPETUAL",
        "deliveryDate": listing.expiry or _NEVER, "onboardDate": _ONBOARD,
        "status": "TRADING" if listing.live else "SETTLING",
        "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
        "baseAsset": _base(listing), "quoteAsset": listing.quote, "marginAsset": listing.quote,
        "pricePrecision": listing.digits, "quantityPrecision": 3, "baseAssetPrecision": 8,
        "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500", "liquidationFee": "0.012500", "marketTakeBound": "0.05",
        "filters": _filters(listing), "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }  # fmt: skip


def _coin_symbol(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.symbol, "pair": pair_of(listing), "contractType": "PERPETUAL",
        "deliveryDate": listing.expiry or _NEVER, "onboardDate": _ONBOARD,
        "contractStatus": "TRADING" if listing.live else "SETTLING",
        "contractSize": int(listing.contract_size), "marginAsset": listing.asset,
        "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
        "baseAsset": listing.asset, "quoteAsset": listing.quote,
        "pricePrecision": listing.digits, "quantityPrecision": 0, "baseAssetPrecision": 8,
        "quotePrecision": 8, "equalQtyPrecision": 4, "maxMoveOrderLimit": 10000,
        "triggerProtect": "0.0500", "underlyingType": "COIN", "underlyingSubType": ["PoW"],
        "filters": _filters(listing), "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"], "liquidationFee": "0.015000",
        "marketTakeBound": "0.05",
    }  # fmt: skip


def _base(listing: Listing) -> str:
    return f"{int(listing.multiplier)}{listing.asset}" if listing.multiplier > 1 else listing.asset


def _filters(listing: Listing) -> list[dict[str, Any]]:
    return [
        {"filterType": "PRICE_FILTER", "tickSize": f"{10.0**-listing.digits:.{listing.digits}f}"},
        {"filterType": "LOT_SIZE", "stepSize": amount(listing, listing.step)},
    ]


def funding_info(listings: Sequence[Listing]) -> list[dict[str, Any]]:
    """`fundingInfo`: only what differs from the rule of 8 hours."""
    return [
        {
            "symbol": listing.symbol, "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000", "fundingIntervalHours": listing.interval_h,
            "disclaimer": False,
        }
        for listing in listings if listing.interval_h != 8
    ]  # fmt: skip


def open_interest(
    symbol: str, listing: Listing | None, value: float, now: Millis
) -> tuple[int, dict[str, Any]]:
    """`openInterest` with its HTTP status."""
    if not symbol:
        told = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
        return 400, {"code": -1102, "msg": told}
    if listing is None:
        return 400, {"code": -1121, "msg": "Invalid symbol."}
    if not listing.live:
        told = "Symbol is on delivering or delivered or settling or closed or pre-trading."
        return 400, {"code": -4108, "msg": told}
    told = amount(listing, value)
    if listing.venue == "binance_usdm":
        return 200, {"openInterest": told, "symbol": symbol, "time": now}
    return 200, {
        "symbol": symbol, "pair": pair_of(listing), "openInterest": told,
        "contractType": "PERPETUAL", "time": now,
    }  # fmt: skip
