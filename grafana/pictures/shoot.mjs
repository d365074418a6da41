// node shoot.mjs PROMETHEUS [--minutes N] [--out FOLDER] [DASHBOARD…]: pictures of dashboards in both themes.
import { createServer } from 'node:http';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import UPNG from 'upng-js';

const COLOURS = 96;
const here = fileURLToPath(new URL('.', import.meta.url));
const { values, positionals } = parseArgs({ allowPositionals: true, options: {
  minutes: { type: 'string', default: '5' }, out: { type: 'string', default: join(here, '../../docs/images') },
  width: { type: 'string', default: '1400' }, height: { type: 'string' }, theme: { type: 'string' },
} });
const [prometheus, ...chosen] = positionals;
if (!prometheus) {
  console.error('say which Prometheus: node shoot.mjs http://127.0.0.1:9090');
  process.exit(2);
}
const boards = chosen.length ? chosen
  : (await readdir(join(here, '../dashboards'))).filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5));
const kinds = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json' };
const server = createServer(async (request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  const file = path.startsWith('/dashboards/') ? join(here, '..', path) : join(here, 'dist', path === '/' ? 'index.html' : path);
  try {
    const body = await readFile(file);
    response.writeHead(200, { 'Content-Type': kinds[extname(file)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
] });
await mkdir(values.out, { recursive: true });
let failed = false;
try {
  const to = Math.floor(Date.now() / 1000) * 1000, from = to - Number(values.minutes) * 60_000;
  for (const dashboard of boards) for (const theme of values.theme ? [values.theme] : ['dark', 'light']) {
    const page = await browser.newPage({ viewport: { width: Number(values.width), height: Number(values.height ?? 900) } });
    page.on('pageerror', (problem) => { failed = true; console.error(`${dashboard}: ${problem.message}`); });
    const query = new URLSearchParams({ dashboard, theme, from, to, prometheus });
    await page.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
    await page.waitForFunction(() => document.body.dataset.waiting === '0', undefined, { timeout: 60_000 });
    await page.waitForTimeout(500);
    const file = join(values.out, `dashboard-${dashboard.replace('leverage-', '')}-${theme}.png`);
    const shot = UPNG.decode(await page.screenshot({ fullPage: !values.height }));
    // A palette is enough for panels, and a third of the size.
    await writeFile(file, new Uint8Array(UPNG.encode(UPNG.toRGBA8(shot), shot.width, shot.height, COLOURS)));
    console.log(file);
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exit(failed ? 1 : 0);
