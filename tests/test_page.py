"""The status page: what it says in each phase and of nothing, and how it behaves in a real Chromium."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import polars as pl
import pytest
from aiohttp import web
from small_market import T0, Small
from websockets.asyncio.client import ClientConnection, connect

from monitor.deleveraging.past import SHOWN
from monitor.deleveraging.phases import PHASES, VERDICTS, Phase, in_words
from monitor.health import Health
from monitor.metrics import METRICS
from monitor.page import UNKNOWN, age, dollars, known, page
from monitor.tick.compute import Samples, families, of_instant, planned
from monitor.venues import VENUES

EVIL = '<script>alert("1")</script>'
VOID = {"meta", "link", "br", "input", "img", "hr"}
DAY = 86_400.0


class Read(HTMLParser):
    """Checks that every element is closed in its place, and keeps the text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.classes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.classes |= set((of.get("class") or "").split())
        self.addresses += [value for name in ("src", "href") if (value := of.get(name)) is not None]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """SVG's elements."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def market() -> Samples:
    """Samples of a small market, all venues heard, without a past."""
    small = Small()
    small.run(3700, step=60)
    return small.run(60)


def with_phase(samples: Samples, phase: Phase, verdict: str, **more: Any) -> Samples:
    """The same as if the past had said this of BTC."""
    row: dict[str, Any] = dict.fromkeys(SHOWN) | {
        "supply": 19_900_000.0, "market_cap": 1.6e12, "oi_to_market_cap": 0.011, "average": 0.0094,
        "mean": 0.0093, "z": 1.6, "percentile": 0.94, "funding_percentile": 0.7, "stretch": 0.85,
        "since_s": samples.now / 1000 - 3 * DAY, "confidence": 0.81, "provisional": 0.0,
        "history_s": 1155 * DAY, "reasons": "", "phase": phase, "verdict": verdict,
    } | more  # fmt: skip
    asset = pl.DataFrame([row], schema=SHOWN, orient="row")
    frames = dict(samples.looked.frames)
    for name, words, said in (("phase", PHASES, phase), ("verdict", VERDICTS, verdict)):
        rows = [("BTC", one, float(one == said)) for one in words]
        frames[name] = pl.DataFrame(rows, schema=frames[name].schema, orient="row")
    looked = msgspec.structs.replace(samples.looked, asset=asset, frames=frames)
    frames = of_instant(samples.views, looked) | {"asset_window": samples.views.asset_window, **looked.frames}
    found = families(planned(METRICS), frames, 1)
    return msgspec.structs.replace(samples, looked=looked, families=list(found.values()))


def health() -> Health:
    return Health(VENUES.values(), since=T0)


def html_of(samples: Samples | None, *, of: Health | None = None, late: float = 0.0) -> str:
    now = (T0 if samples is None else samples.now) + int(late * 1000)
    return page(of or health(), list(VENUES.values()), samples, now)


def honest(html: str) -> Read:
    """The page's text, with none of what stands for nothing."""
    found = Read(html)
    assert not re.search(r"\b(None|nan|NaN|inf|null|Undefined)\b", found.text), found.text
    assert all(one.startswith(("/", "data:,")) for one in found.addresses)
    return found


PLACES: Mapping[Phase, tuple[str, dict[str, Any]]] = {
    "undetermined": ("undetermined", {"confidence": 0.0, "since_s": None, "z": None, "history_s": 0.0}),
    "reset": ("yes", {"z": -0.3}),
    "build_up": ("undetermined", {}),
    "stretched": ("undetermined", {"reasons": "stretch: +0.84 against +0.8"}),
    "purge": (
        "no", {"depth": 0.186, "destroyed_usd": 3.4e9, "provisional": 1.0,
               "reasons": "growth_1d: -0.196 against -0.06; growth_1d_z: -24.5 against -5"},
    ),
    "stabilising": ("partly", {"depth": 0.186, "destroyed_usd": 3.4e9, "completeness": 0.8}),
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_has_its_word_its_colour_and_its_answer(market: Samples, phase: Phase) -> None:
    verdict, more = PLACES[phase]
    found = honest(html_of(with_phase(market, phase, verdict, **more)))
    words = in_words(phase, verdict)
    assert words[0].upper() + words[1:] in found.text
    assert phase.replace("_", "-").capitalize() in found.text
    assert phase in found.classes
    assert not (set(PHASES) - {phase}) & found.classes


def test_a_purge_shows_depth_dollars_reasons_and_that_it_is_provisional(market: Samples) -> None:
    verdict, more = PLACES["purge"]
    text = honest(html_of(with_phase(market, "purge", verdict, **more))).text
    assert "18.6% of open interest gone, $3.40 bn" in text
    assert "Open interest in 24 h (log): -19.6 %, threshold -6.0 %" in text
    assert "24 h in daily deviations: -24.50, threshold -5.00" in text
    assert "provisional until the day closes" in text
    assert "confidence high (0.81)" in text


def test_what_cannot_be_said_has_no_confidence_and_a_reason(market: Samples) -> None:
    text = honest(html_of(market)).text  # without any past
    assert "History shorter than 120 days (0): run `monitor backfill`" in text
    assert "confidence" not in text.split("The board")[0]
    assert "Coverage 100 %" in text


def test_a_page_of_nothing_at_all() -> None:
    found = honest(html_of(None))
    assert "No venue has spoken yet." in found.text
    assert found.text.count("? unknown") == 12
    assert not set(PHASES) & found.classes


def test_an_instant_that_is_over_is_not_shown_as_present(market: Samples) -> None:
    stretched = with_phase(market, "stretched", "undetermined")
    assert "Stretched" in Read(html_of(stretched, late=30)).text
    found = honest(html_of(stretched, late=100))
    assert "Nothing was computed for 100 s" in found.text
    assert not set(PHASES) & found.classes
    assert "$80,000" not in found.text
    assert "BTCUSDT" not in found.text
    hurried = Health(VENUES.values(), speed=3600, since=T0)  # a demo's seconds are hours
    assert "Stretched" in Read(html_of(stretched, of=hurried, late=100)).text


def test_sources_are_shown_with_age_and_problem(market: Samples) -> None:
    of = health()
    for name in ("cftc", "gold_api", "lbma_pm", "etf_btc"):
        of.source(name, int(6 * DAY * 1000))
    of.source_good("cftc", market.now - int(7 * DAY * 1000))
    of.source_good("lbma_pm", market.now - int(DAY * 1000))
    of.source_failed("lbma_pm", "rubbish", EVIL, market.now)
    of.source_good("gold_api", market.now)
    found = honest(html_of(market, of=of))
    states = "cftc too old", "lbma_pm failing, last value kept", "gold_api good", "etf_btc never answered"
    assert [said for said in states if said not in found.text] == []
    assert "source cftc is 7.0 days old, older than it may be" in found.text
    assert EVIL in found.text  # as text


def test_text_of_strangers_is_never_markup() -> None:
    small = Small()
    odd = small.of["a"]
    small.of["a"] = msgspec.structs.replace(odd, symbol=EVIL, asset=EVIL)
    small.run(60)
    of = health()
    of.failed("okx", "refused", EVIL, T0)
    html = html_of(small.run(20), of=of)
    assert EVIL not in html
    assert EVIL in honest(html).text


def test_the_page_reads_the_same_samples_as_the_board(market: Samples) -> None:
    found = known(health(), with_phase(market, "reset", "yes"), market.now)
    assert all(isinstance(value, float) for value in found.values())
    numbers = {
        (family.metric.name, tuple(row.values())): value
        for family in market.families
        for row, value in zip(family.labels.iter_rows(named=True), family.values, strict=True)
        if family.metric.name == "leverage_perp_open_interest_usd"
    }
    assert numbers
    for (name, (asset,)), value in numbers.items():
        assert found[name, frozenset({("asset", asset)})] == value


def test_numbers_in_words() -> None:
    assert [dollars(value) for value in (1.74e12, 8.21e9, -3.5e6, 83_217.5, -2.0, None)] == [
        "$1.74 tn", "$8.21 bn", "-$3.50 m", "$83,217.50", "-$2.00", UNKNOWN,
    ]  # fmt: skip
    ages = [age(value) for value in (3, 720, 18_000, 4 * DAY, None)]
    assert ages == ["3 s", "12 min", "5 h", "4 d", UNKNOWN]


# In a browser.


class Tab:
    """A page of a Chromium, told what to do by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._loaded = asyncio.Event()
        self.errors: list[str] = []

    async def open(self, url: str) -> None:
        """Goes to an address and waits for its page."""
        await self.do("Page.navigate", url=url)
        async with asyncio.timeout(60):
            while not self._loaded.is_set():
                self._hear(json.loads(await self._socket.recv()))

    def _hear(self, said: dict[str, Any]) -> None:
        if said.get("method") == "Page.loadEventFired":
            self._loaded.set()
        if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(json.dumps(said["params"]))

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command."""
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(await self._socket.recv())
            self._hear(said)
            if said.get("id") == number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    async def value(self, script: str) -> Any:
        """What a script says."""
        found = await self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """A screen of so many pixels."""
        await self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.do("Emulation.setEmulatedMedia", features=[scheme])

    async def until(self, script: str, seconds: float = 20) -> None:
        """Waits until a script says something true."""
        async with asyncio.timeout(seconds):
            while not await self.value(script):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[Tab]:
    """A headless Chromium that shows an address."""
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert program, "no Chromium on PATH: `make tools` brings one"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={folder}",
            "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = Path(folder) / "DevToolsActivePort"
            async with asyncio.timeout(60):
                while not port.exists() or "\n" not in port.read_text():
                    assert process.returncode is None, "Chromium ended"
                    await asyncio.sleep(0.05)
            address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json/list"
            async with aiohttp.ClientSession() as session, session.get(address) as answer:
                tabs = await answer.json(content_type=None)
            target = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with connect(target, max_size=1 << 25, compression=None) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.do(f"{domain}.enable")
                await tab.open(url)
                yield tab
        finally:
            process.terminate()
            await process.wait()


class Served:
    """A page on loopback, that can be changed, counted and made silent."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.asked = 0
        self.silent = False

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=self.html, content_type="text/html", status=503 if self.silent else 200)


@asynccontextmanager
async def served(html: str) -> AsyncIterator[tuple[Served, Tab]]:
    state = Served(html)
    app = web.Application()
    app.router.add_get("/", state.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with browser(f"http://127.0.0.1:{runner.addresses[0][1]}/") as tab:
            yield state, tab
    finally:
        await runner.cleanup()


async def test_nothing_sticks_out_of_a_phone_or_a_laptop(market: Samples) -> None:
    purge = with_phase(market, "purge", PLACES["purge"][0], **PLACES["purge"][1])
    of = health()
    of.failed("okx", "refused", "a" * 200, T0)
    of.source("cftc", 1000)
    async with served(html_of(purge, of=of)) as (_, tab):
        for width, height in ((320, 640), (375, 812), (768, 1024), (1366, 900), (1920, 1080)):
            for dark in (False, True):
                await tab.size(width, height, dark=dark)
                wide = await tab.value("document.documentElement.scrollWidth")
                assert wide <= width
        # The phase is the largest text, and on the first screen of a phone.
        await tab.size(375, 812)
        bottom, size = await tab.value(
            "(e => [e.getBoundingClientRect().bottom, parseFloat(getComputedStyle(e).fontSize)])"
            "(document.querySelector('.top strong'))"
        )
        assert bottom < 200
        assert size == await tab.value(
            "Math.max(...[...document.querySelectorAll('main *')]"
            ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
        )
        # Each text of the page can be told from what it lies on, in both themes.
        for dark in (False, True):
            await tab.size(375, 812, dark=dark)
            assert await tab.value(CONTRAST) == []
        assert tab.errors == []


CONTRAST = """
(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [.2126, .7152, .0722][n], 0);
  const under = e => {
    for (; e; e = e.parentElement) {
      const found = parts(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll("main *:not(svg *)")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(under(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.className} ${ratio.toFixed(2)}`);
  }
  return bad;
})()
"""
"""Texts with less contrast than WCAG 2.1 asks for (4.5)."""


async def test_it_renews_itself_without_being_loaded_again(market: Samples) -> None:
    reset = html_of(with_phase(market, "reset", "yes", z=-0.3))
    stretched = html_of(with_phase(market, "stretched", "undetermined"))
    async with served(reset) as (state, tab):
        await tab.size(375, 812)
        assert await tab.value("document.title") == "BTC reset, leverage monitor"
        await tab.value("window.same = true; document.querySelector('.scroll').scrollLeft = 40; 1")
        await tab.value("scrollTo(0, 300)")
        state.html = stretched
        await tab.until("document.querySelector('.card').classList.contains('stretched')")
        assert await tab.value("window.same && scrollY === 300")
        assert await tab.value("document.querySelector('.scroll').scrollLeft") == 40
        assert await tab.value("document.title") == "BTC stretched, leverage monitor"
        assert tab.errors == []


async def test_it_says_when_the_monitor_does_not_answer(market: Samples) -> None:
    async with served(html_of(with_phase(market, "reset", "yes"))) as (state, tab):
        state.silent = True
        await tab.until("!document.getElementById('silent').hidden")
        told = await tab.value("document.getElementById('silent').textContent")
        assert told.startswith("The monitor has not answered for ")
        assert await tab.value("getComputedStyle(document.querySelector('main')).opacity") == "0.45"
        state.silent = False
        await tab.until("document.getElementById('silent').hidden")
        assert await tab.value("getComputedStyle(document.querySelector('main')).opacity") == "1"


async def test_a_hidden_tab_asks_nothing(market: Samples) -> None:
    async with served(html_of(market)) as (state, tab):
        await tab.value(
            "Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true});"
            "window.away = true; 1"
        )
        await asyncio.sleep(0.3)
        asked = state.asked
        await asyncio.sleep(4)
        assert state.asked == asked
        await tab.value("window.away = false; document.dispatchEvent(new Event('visibilitychange')); 1")
        async with asyncio.timeout(2):
            while state.asked == asked:
                await asyncio.sleep(0.02)
