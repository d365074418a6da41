// A classic dashboard drawn with Grafana's published components. This is not Grafana: it shows what the queries,
// units, thresholds, colours and layout come to, not that Grafana loads the file.
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { type DataFrame, type GrafanaTheme2, ThemeContext, createTheme, dateTime } from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries } from '@grafana/ui';
import { Cells, Timeline } from './timeline';
import { type Answer, type Dashboard, type Panel, type Values, configured, filled, framesOf, laidOut,
  timeOf } from './model';

const asked = new URLSearchParams(location.search);
const [from, to] = [Number(asked.get('from')), Number(asked.get('to'))];
const prometheus = asked.get('prometheus')!;
const theme = createTheme({ colors: { mode: asked.get('theme') === 'light' ? 'light' : 'dark' } });
const CELL = 30, GAP = 8, WIDTH = innerWidth - 2 * GAP, COLUMN = (WIDTH + GAP) / 24;
let waiting = 0;

interface Loaded { frames: DataFrame[]; interval: number; rows: Answer[][] }

function Drawn({ panel, values, width, height }: { panel: Panel; values: Values; width: number; height: number }) {
  const [data, setData] = useState<Loaded | string>();
  const [begin, end] = timeOf(panel, from, to);
  useEffect(() => {
    waiting++;
    framesOf(panel, values, prometheus, begin, end, Math.round(width))
      .then((found) => setData({ ...found, frames: configured(panel, found.frames, theme) }))
      .catch((problem: Error) => setData(problem.message))
      .finally(() => { setTimeout(() => { waiting--; document.body.dataset.waiting = String(waiting); }, 300); });
  }, []);
  if (data === undefined) return <span />;
  if (typeof data === 'string') return <b style={{ color: theme.colors.error.text }}>{data}</b>;
  if (data.rows.every((one) => one.length === 0) && panel.type !== 'stat')
    return <div style={{ color: theme.colors.text.secondary, textAlign: 'center', paddingTop: height / 2 - 10 }}>
      No data</div>;
  const room = { width, height, theme };
  switch (panel.type) {
    case 'timeseries': {
      const timeRange = { from: dateTime(begin), to: dateTime(end), raw: { from: dateTime(begin), to: dateTime(end) } };
      return <TimeSeries frames={data.frames} width={width} height={height} timeRange={timeRange} timeZone="utc"
        legend={legend(panel)} options={panel.options} />;
    }
    case 'stat': return <Numbers panel={panel} data={data} {...room} />;
    case 'bargauge': return <Bars panel={panel} frames={data.frames} {...room} />;
    case 'statetimeline': case 'state-timeline':
      return <Timeline frames={data.frames} from={begin} to={end} interval={data.interval}
        words={panel.options.showValue !== 'never'} {...room} />;
    case 'heatmap':
      return <Cells frames={data.frames} from={begin} to={end} interval={data.interval}
        least={panel.options.color.min} most={panel.options.color.max} {...room} />;
    case 'table': return <Rows panel={panel} data={data} {...room} />;
    default: return <>{panel.type}: not drawn here</>;
  }
}

// Values in the legend are left out: Grafana's own panel adds them, the published component does not.
const legend = (panel: Panel) => ({ ...panel.options.legend, displayMode: 'list', calcs: [] });

interface Room { panel: Panel; width: number; height: number; theme: GrafanaTheme2 }

function Numbers({ panel, data, width, height }: Room & { data: Loaded }) {
  const wide = (width - GAP * (data.frames.length - 1)) / Math.max(data.frames.length, 1);
  return (
    <div style={{ display: 'flex', gap: GAP }}>
      {data.frames.map((frame, n) => {
        const field = frame.fields[1], value = field.display!(field.values.at(-1));
        return <BigValue key={n} value={{ ...value, title: field.state!.displayName! }} width={wide} height={height}
          theme={theme} colorMode={panel.options.colorMode} graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode} textMode={panel.options.textMode}
          text={panel.options.text} disableWideLayout={!panel.options.wideLayout} />;
      })}
    </div>
  );
}

function Bars({ panel, frames, width, height }: Room & { frames: DataFrame[] }) {
  const tall = Math.min((height - 4 * (frames.length - 1)) / Math.max(frames.length, 1), 40);
  return (
    <div style={{ display: 'flex', flexDirection: 'column', gap: 4 }}>
      {frames.map((frame, n) => {
        const field = frame.fields[1], value = field.display!(field.values.at(-1));
        return <BarGauge key={n} value={{ ...value, title: field.state!.displayName! }} field={field.config}
          display={field.display} width={width} height={tall} theme={theme} orientation={panel.options.orientation}
          displayMode={panel.options.displayMode} valueDisplayMode={panel.options.valueMode}
          namePlacement={panel.options.namePlacement} showUnfilled={panel.options.showUnfilled}
          text={panel.options.text} alignmentFactors={{ title: 'liquidated in 24 h', text: '100.00%' } as any} />;
      })}
    </div>
  );
}

function Rows({ panel, data, height }: Room & { data: Loaded }) {
  const { renameByName, indexByName } = panel.transformations!.find((one) => one.id === 'organize')!.options;
  const names: Record<string, string> = Object.fromEntries(
    Object.entries<string>(renameByName).sort(([a], [b]) => indexByName[a] - indexByName[b]));
  const rows = data.rows.flat().map((one) => ({ ...one.metric, Value: Number(one.value![1]) }) as Record<string, any>);
  const by = Object.keys(names).find((name) => names[name] === panel.options.sortBy?.[0]?.displayName);
  const down = panel.options.sortBy?.[0]?.desc ? -1 : 1;
  if (by) rows.sort((a, b) => (a[by] < b[by] ? -1 : a[by] > b[by] ? 1 : 0) * down);
  const cell = { padding: '3px 8px', borderBottom: `1px solid ${theme.colors.border.weak}`, textAlign: 'left' as const };
  const shown = configured(panel, rows.map((row) => ({ length: 1, fields: Object.keys(names).map((name) => ({
    name: names[name], type: typeof row[name] === 'number' ? 'number' : 'string', config: {}, values: [row[name] ?? ''],
  })) }) as any), theme);
  return (
    <div style={{ height, overflow: 'hidden' }}>
      <table style={{ width: '100%', fontSize: 12.5 }}>
        <thead><tr>{Object.values(names).map((name) => <th key={name} style={cell}>{name}</th>)}</tr></thead>
        <tbody>{shown.map((row, n) => (
          <tr key={n}>{row.fields.map((field) => {
            const value = typeof field.values[0] === 'number' ? field.display!(field.values[0]) : undefined;
            return <td key={field.name} style={cell}>
              {value ? `${value.prefix ?? ''}${value.text}${value.suffix ?? ''}` : String(field.values[0])}</td>;
          })}</tr>))}
        </tbody>
      </table>
    </div>
  );
}

function Board({ board }: { board: Dashboard }) {
  const values: Values = { datasource: ['prometheus'] };
  for (const variable of board.templating.list) {
    const chosen = [variable.current.value].flat();
    values[variable.name] = chosen[0] === '$__all' ? ['.+'] : chosen;
  }
  const panels = laidOut(board, values);
  const rows = Math.max(...panels.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  return (
    <div style={{ position: 'relative', height: rows * (CELL + GAP) + 40, margin: GAP }}>
      <div style={{ fontSize: 18, padding: '4px 2px', color: theme.colors.text.primary }}>{board.title}</div>
      {panels.map(({ panel, values: own }, n) => {
        const { x, y, w, h } = panel.gridPos, width = w * COLUMN - GAP, height = h * (CELL + GAP) - GAP;
        return (
          <div key={n} style={{ position: 'absolute', left: x * COLUMN, top: y * (CELL + GAP) + 36, width, height }}>
            <PanelChrome title={filled(panel.title, own)} width={width} height={height}>
              {(wide, high) => <Drawn panel={panel} values={own} width={wide} height={high} />}
            </PanelChrome>
          </div>);
      })}
    </div>
  );
}

const board: Dashboard = await (await fetch(`/dashboards/${asked.get('dashboard')}.json`)).json();
document.body.style.background = theme.colors.background.canvas;
createRoot(document.getElementById('root')!).render(
  <ThemeContext.Provider value={theme}><GlobalStyles /><Board board={board} /></ThemeContext.Provider>
);
