// The part of a classic dashboard that is drawn, and what Grafana itself does before it asks for data.
import { type DataFrame, type Field, FieldType, type GrafanaTheme2, type TimeRange, getDisplayProcessor,
  rangeUtil } from '@grafana/data';
import { FieldColorModeId } from '@grafana/data';

export interface Target { refId: string; expr: string; legendFormat: string; format?: string; instant?: boolean }
export interface Override {
  matcher: { id: string; options: string };
  properties: { id: string; value: any }[];
}
export interface Panel {
  id: number; type: string; title: string; repeat?: string; maxPerRow?: number; interval?: string;
  maxDataPoints?: number; timeFrom?: string; targets: Target[]; options: any;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: any; overrides: Override[] };
  transformations?: { id: string; options: any }[];
}
export interface Dashboard {
  title: string; description: string; panels: Panel[];
  templating: { list: { name: string; label?: string; type: string; current: { value: string | string[] } }[] };
}
export type Values = Record<string, string[]>;

const SCRAPE_MS = 5000;

// A panel per chosen value, as wide as fits; what is below moves down, as Grafana lays it out.
export function laidOut(dashboard: Dashboard, values: Values): { panel: Panel; values: Values }[] {
  const out: { panel: Panel; values: Values }[] = [];
  let moved = 0;
  for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
    const place = { ...panel.gridPos, y: panel.gridPos.y + moved };
    const chosen = panel.repeat ? values[panel.repeat] : [];
    if (!panel.repeat) {
      out.push({ panel: { ...panel, gridPos: place }, values });
      continue;
    }
    const across = Math.min(chosen.length, panel.maxPerRow ?? 4);
    const width = 24 / across;
    chosen.forEach((value, index) => {
      const gridPos = { ...place, w: width, x: (index % across) * width,
        y: place.y + Math.floor(index / across) * place.h };
      out.push({ panel: { ...panel, gridPos }, values: { ...values, [panel.repeat!]: [value] } });
    });
    moved += (Math.ceil(chosen.length / across) - 1) * place.h;
  }
  return out;
}

export function filled(text: string, values: Values): string {
  return text.replace(/\$\{?(\w+)\}?/g, (whole, name) => {
    const value = values[name];
    if (!value) return whole;
    return value.length === 1 ? value[0] : `(${value.join('|')})`;
  });
}

function step(panel: Panel, from: number, to: number, width: number): number {
  const least = panel.interval ? rangeUtil.intervalToMs(panel.interval) : SCRAPE_MS;
  const points = Math.min(panel.maxDataPoints ?? width, width);
  return Math.max(rangeUtil.roundInterval((to - from) / points), least);
}

export function timeOf(panel: Panel, from: number, to: number): [number, number] {
  return panel.timeFrom ? [to - rangeUtil.intervalToMs(panel.timeFrom), to] : [from, to];
}

interface Answer { metric: Record<string, string>; values?: [number, string][]; value?: [number, string] }

async function ask(base: string, path: string, params: Record<string, string>): Promise<Answer[]> {
  const answer = await fetch(`${base}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(params) });
  const text = await answer.json();
  if (text.status !== 'success') throw new Error(`${params.query}: ${text.error}`);
  return text.data.result;
}

const named = (format: string, labels: Record<string, string>) =>
  format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '').trim();

export async function framesOf(
  panel: Panel, values: Values, base: string, from: number, to: number, width: number
): Promise<{ frames: DataFrame[]; interval: number; rows: Answer[][] }> {
  const interval = step(panel, from, to, width);
  const seconds = interval / 1000;
  const spelled = `${seconds}s`;
  const rate = `${Math.max(seconds + SCRAPE_MS / 1000, (4 * SCRAPE_MS) / 1000)}s`;
  const frames: DataFrame[] = [];
  const rows: Answer[][] = [];
  for (const target of panel.targets) {
    const query = filled(target.expr, { ...values, __interval: [spelled], __rate_interval: [rate] });
    const start = Math.floor(from / interval) * seconds, end = Math.floor(to / interval) * seconds;
    const found = target.instant
      ? await ask(base, 'query', { query, time: String(to / 1000) })
      : await ask(base, 'query_range', { query, start: String(start), end: String(end), step: String(seconds) });
    rows.push(found);
    for (const one of found) {
      const name = named(target.legendFormat, one.metric);
      // A step without a value is a null, so that a gap is drawn as one.
      const points = new Map((one.values ?? [one.value!]).map(([time, value]) => [time * 1000, Number(value)]));
      const times = target.instant ? [...points.keys()]
        : Array.from({ length: Math.round((end - start) / seconds) + 1 }, (_, n) => (start + n * seconds) * 1000);
      const field: Field = { name, type: FieldType.number, labels: one.metric, config: { displayNameFromDS: name },
        values: times.map((time) => points.get(time) ?? null) };
      frames.push({ refId: target.refId, length: times.length, fields: [
        { name: 'Time', type: FieldType.time, config: { interval }, values: times }, field,
      ] });
    }
  }
  return { frames, interval, rows };
}

function put(config: any, path: string, value: any) {
  const [head, ...rest] = path.split('.');
  if (rest.length === 0) config[head] = value;
  else { config[head] = { ...config[head] }; put(config[head], rest.join('.'), value); }
}

const matches = (override: Override, name: string, refId?: string) => override.matcher.id === 'byName'
  ? override.matcher.options === name
  : override.matcher.id === 'byFrameRefID' && override.matcher.options === refId;

// Options of the field: the panel's defaults, then what its overrides say, and how values are then shown.
export function configured(panel: Panel, frames: DataFrame[], theme: GrafanaTheme2): DataFrame[] {
  let index = 0;
  for (const frame of frames) for (const field of frame.fields) {
    const config: any = { ...structuredClone(panel.fieldConfig.defaults), ...field.config };
    config.custom = { ...DEFAULTS, ...config.custom };
    if (field.type !== FieldType.time)
      for (const override of panel.fieldConfig.overrides)
        if (matches(override, field.config.displayNameFromDS ?? field.name, frame.refId))
          for (const { id, value } of override.properties) put(config, id, value);
    if (!config.color) config.color = { mode: FieldColorModeId.PaletteClassicByName };
    field.config = field.type === FieldType.time ? { ...field.config, custom: config.custom } : config;
    field.state = { displayName: field.config.displayNameFromDS ?? field.name, seriesIndex: index,
      range: undefined };
    if (field.type !== FieldType.time) index++;
    field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
  }
  return frames;
}

const DEFAULTS = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none',
  spanNulls: false, showPoints: 'auto', pointSize: 5, axisPlacement: 'auto', axisColorMode: 'text',
  axisLabel: '', scaleDistribution: { type: 'linear' }, stacking: { mode: 'none', group: 'A' },
  hideFrom: { legend: false, tooltip: false, viz: false }, thresholdsStyle: { mode: 'off' },
  barAlignment: 0, barWidthFactor: 0.6, axisGridShow: true, insertNulls: false,
};

export type { Answer, TimeRange };
