"""Every alert in every channel, as a real Alertmanager sends it: `make alertmanager-preview`.

Texts go to a folder, one file per alert; where Chromium is installed, pictures of chosen ones beside them.
The pictures are drawn by this file in the manner of Slack, Telegram and Discord; the e-mail is its own HTML.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from html import escape
from pathlib import Path

from receivers import CHANNELS, Example, Post, alertmanager, examples, hurried, now, receiving

OUT = Path(__file__).parents[1] / "build" / "notifications"
SHOWN = ("slack", "telegram", "discord", "email", "pagerduty", "webhook")
WIDTH = 680

STYLE = """
body { margin: 0; padding: 16px; width: 648px; font: 15px/1.45 "DejaVu Sans", sans-serif; }
.post { margin: 0 0 14px; white-space: pre-wrap; overflow-wrap: anywhere; } a { text-decoration: none; }
.channel { font-size: 12px; opacity: .7; margin: 0 0 4px; }
b.title { display: block; }
.slack, .discord { border-left: 4px solid; border-radius: 4px; padding: 8px 12px; }
.slack { background: #fff; color: #1d1c1d; } .slack a { color: #1264a3; }
.discord { background: #2b2d31; color: #dbdee1; } .discord a { color: #00a8fc; }
.telegram { background: #e6f2e0; color: #111; border-radius: 10px; padding: 8px 12px; }
"""


async def posts(groups: Sequence[Sequence[Example]], folder: Path) -> list[list[dict[str, Post]]]:
    """For each group of alerts what each channel gets: firing, then resolved after 2 h 14 min."""
    found: list[list[dict[str, Post]]] = []
    async with receiving() as receivers:
        settings = receivers.settings(receivers.secrets(folder / "secrets"))
        # Everything to the receiver with all channels, nothing held back: routes are tested elsewhere.
        route = {"receiver": "pager", "group_by": ["alertname", "asset"]}
        settings = hurried(settings | {"route": route, "inhibit_rules": []}, interval="3s")
        async with alertmanager(settings, folder) as server:
            began = now() - timedelta(hours=2, minutes=14)
            for group in groups:
                states = []
                for ended in (None, began + timedelta(hours=2, minutes=14)):
                    receivers.posts.clear()
                    await server.tell(*(one.alert(began, ended) for one in group))
                    await receivers.until(lambda: {post.channel for post in receivers.posts} >= set(SHOWN))
                    assert not receivers.refusals, receivers.refusals
                    states.append({post.channel: post for post in receivers.posts})
                found.append(states)
    return found


def text(states: Sequence[dict[str, Post]]) -> str:
    """All channels of a group, for a reader."""
    lines = []
    for state, said in zip(("firing", "resolved"), states, strict=True):
        for channel in SHOWN:
            lines += [f"=== {channel}, {state} ===", said[channel].text.rstrip(), ""]
    return "\n".join(lines)


def page(said: Sequence[dict[str, Post]], *channels: str) -> str:
    """Some notifications in chat channels, one under the other."""
    parts = []
    for channel in channels:
        draw = DRAWN[channel]
        parts.append(f'<div class="channel">{channel.title()}</div>')
        parts += [f'<div class="post">{draw(one[channel])}</div>' for one in said]
    html = f'<!DOCTYPE html><meta charset="utf-8"><style>{STYLE}</style>{"".join(parts)}'
    # Fonts of servers have no coloured signs.
    return html.replace("🚨", "⚠").replace("✅", "✔").replace("\ufe0f", "")


def _slack(post: Post) -> str:
    one = post.body["attachments"][0]
    body = re.sub(r"<(https?://[^|>]+)\|([^>]+)>", r'<a href="\1">\2</a>', one["text"])
    body = re.sub(r"(?<!\w)\*([^*\n]+)\*", r"<b>\1</b>", body)
    body = re.sub(r"(?<!\w)_([^_\n]+)_(?!\w)", r"<i>\1</i>", body)
    title = one["title"].replace(":rotating_light:", "🚨").replace(":white_check_mark:", "✅")
    body = body.rstrip()
    return (
        f'<div class="slack" style="border-color:{one["color"]}"><b class="title">{escape(title)}</b>'
        f'{body}\n<small style="opacity:.6">{escape(one["footer"])}</small></div>'
    )


def _discord(post: Post) -> str:
    one = post.body["embeds"][0]
    body = escape(one["description"])
    body = re.sub(r"\[([^\]]+)\]\((https?://[^)]+)\)", r'<a href="\2">\1</a>', body)
    body = re.sub(r"(?<!\\)\*\*([^*\n]+)\*\*", r"<b>\1</b>", body)
    body = re.sub(r"(?<![\\*])\*([^*\n]+)\*", r"<i>\1</i>", body)
    body = re.sub(r"`([^`]+)`", r"<code>\1</code>", body)
    body = re.sub(r"\\([^A-Za-z0-9\s])", r"\1", body)
    body = re.sub(r"(?m)^- ", "• ", body)
    return (
        f'<div class="discord" style="border-color:#{one["color"]:06x}">'
        f'<b class="title">{escape(one["title"])}</b>{body}</div>'
    )


def _telegram(post: Post) -> str:
    return f'<div class="telegram">{post.body["text"]}</div>'


DRAWN = {"slack": _slack, "discord": _discord, "telegram": _telegram}


def height(said: Sequence[Post]) -> int:
    """Of a picture of them, in pixels, about."""
    text = re.sub(r"https?://\S+", "", "\n".join(post.text for post in said))
    return 90 + 50 * len(said) + 22 * sum(1 + len(line) // 78 for line in text.split("\n"))


async def picture(html: str, file: Path, tall: int, *, dark: bool = False) -> None:
    """Draws a page with Chromium."""
    program = shutil.which("chromium")
    assert program
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(html, encoding="utf-8")
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        process = await asyncio.create_subprocess_exec(
            program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", *scheme,
            f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{tall}", f"--screenshot={file}",
            source.as_uri(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if await process.wait():
            sys.exit(f"preview: chromium could not draw {file}")


def groups() -> dict[str, list[Example]]:
    """What is shown, by the name of its file: each alert, and a trouble of six venues."""
    found = examples()
    shown = {name: [of[0]] for name, of in found.items()}
    if "VenueSilent" in found:
        one = found["VenueSilent"][0]
        venue = one.labels["venue"]
        shown["VenueSilent-six-venues"] = [
            Example(
                one.labels | {"venue": name},
                {key: said.replace(venue, name) for key, said in one.annotations.items()},
            )
            for name in ("binance_usdm", "binance_coinm", "bybit", "okx", "deribit", "hyperliquid")
        ]
    return shown


async def main(out: Path, only: Sequence[str]) -> None:
    """Writes everything."""
    shown = {name: group for name, group in groups().items() if not only or name in only}
    if not shown:
        sys.exit(f"preview: no such alert; there are {', '.join(groups())}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = dict(zip(shown, await posts(list(shown.values()), Path(folder)), strict=True))
    for name, states in found.items():
        (out / f"{name}.txt").write_text(text(states), encoding="utf-8")
    sys.stdout.write(f"{len(found)} alerts in {len(CHANNELS) - 1} channels: {out}\n")
    if not shutil.which("chromium"):
        sys.stdout.write("No pictures: chromium is not on PATH.\n")
        return
    for name, states in found.items():
        posts_of = [state[channel] for state in states for channel in DRAWN]
        await picture(page(states, *DRAWN), out / f"{name}-chat.png", height(posts_of))
        letter = states[0]["email"]
        for theme in ("light", "dark"):
            html = letter.body.get_body(("html",)).get_content()
            file = out / f"{name}-email-{theme}.png"
            await picture(html, file, height([letter]), dark=theme == "dark")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("alerts", nargs="*", help="only these; all if none is named")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.out, chosen.alerts))
