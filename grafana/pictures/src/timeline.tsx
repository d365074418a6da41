// State timelines and heatmaps: Grafana does not publish its components for them, so these are this tool's own.
import { type DataFrame, FieldType, type GrafanaTheme2, dateTimeFormat } from '@grafana/data';

interface Props { frames: DataFrame[]; width: number; height: number; theme: GrafanaTheme2;
  from: number; to: number; interval: number }

function Axis({ from, to, left, width, top, theme }: { from: number; to: number; left: number; width: number;
  top: number; theme: GrafanaTheme2 }) {
  const marks = Array.from({ length: 7 }, (_, n) => from + ((to - from) * n) / 6);
  const format = to - from > 2 * 86_400_000 ? 'MM/DD' : to - from > 600_000 ? 'HH:mm' : 'HH:mm:ss';
  return <>{marks.slice(0, -1).map((mark) => (
    <text key={mark} x={left + ((mark - from) / (to - from)) * width} y={top} fontSize={11}
      fill={theme.colors.text.secondary}>{dateTimeFormat(mark, { timeZone: 'utc', format })}</text>
  ))}</>;
}

function room(frames: DataFrame[]) {
  const longest = Math.max(0, ...frames.map((frame) => frame.fields[1].state!.displayName!.length));
  return Math.min(longest * 7.4 + 14, 280);
}

export function Timeline({ frames, width, height, theme, from, to, interval, words }: Props & { words: boolean }) {
  const left = room(frames), across = width - left - 8, tall = (height - 18) / Math.max(frames.length, 1);
  const x = (time: number) => left + (Math.min(Math.max((time - from) / (to - from), 0), 1)) * across;
  return (
    <svg width={width} height={height}>
      {frames.map((frame, row) => {
        const field = frame.fields.find((one) => one.type === FieldType.number)!;
        const times = frame.fields[0].values as number[];
        const spans: { value: number; begin: number; end: number }[] = [];
        field.values.forEach((value, n) => {
          const latest = spans.at(-1);
          if (value === null) return;
          if (latest && latest.value === value && latest.end >= times[n] - 1) latest.end = times[n] + interval;
          else spans.push({ value, begin: times[n], end: times[n] + interval });
        });
        return (
          <g key={row} transform={`translate(0 ${row * tall})`}>
            <text x={left - 8} y={tall / 2 + 4} textAnchor="end" fontSize={12} fill={theme.colors.text.primary}>
              {field.state!.displayName}</text>
            {spans.map((span) => {
              const shown = field.display!(span.value), wide = x(span.end) - x(span.begin);
              return shown.color === 'transparent' ? null : (
                <g key={span.begin}>
                  <rect x={x(span.begin)} width={Math.max(wide, 1)} y={tall * 0.08} height={tall * 0.84}
                    fill={shown.color} fillOpacity={0.9} />
                  {words && wide > shown.text.length * 7.5 && (
                    <text x={x(span.begin) + 5} y={tall / 2 + 4} fontSize={12}
                      fill={theme.colors.getContrastText(shown.color ?? '#000000')}>{shown.text}</text>)}
                </g>);
            })}
          </g>);
      })}
      <Axis from={from} to={to} left={left} width={across} top={height - 4} theme={theme} />
    </svg>
  );
}

// d3's RdBu in five stops, reversed as the panels ask for it.
const STOPS = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];

function colour(part: number) {
  const at = Math.min(Math.max(part, 0), 1) * 4, low = Math.min(Math.floor(at), 3);
  const mix = STOPS[low].map((from, n) => Math.round(from + (STOPS[low + 1][n] - from) * (at - low)));
  return `rgb(${mix.join(' ')})`;
}

export function Cells({ frames, width, height, theme, from, to, interval, least, most }: Props &
  { least: number; most: number }) {
  const left = room(frames), across = width - left - 8, tall = (height - 18) / Math.max(frames.length, 1);
  return (
    <svg width={width} height={height}>
      {frames.map((frame, row) => {
        const field = frame.fields[1], times = frame.fields[0].values as number[];
        return (
          <g key={row} transform={`translate(0 ${row * tall})`}>
            <text x={left - 8} y={tall / 2 + 4} textAnchor="end" fontSize={12} fill={theme.colors.text.primary}>
              {field.state!.displayName}</text>
            {field.values.map((value, n) => value === null ? null : (
              <rect key={n} x={left + ((times[n] - from) / (to - from)) * across} height={tall - 1}
                width={(interval / (to - from)) * across + 0.5} fill={colour((value - least) / (most - least))} />))}
          </g>);
      })}
      <Axis from={from} to={to} left={left} width={across} top={height - 4} theme={theme} />
    </svg>
  );
}
