// What an investment became, and how far it fell on the way.

import { useMemo } from "react";
import { Area, AreaChart, CartesianGrid, Legend, Line, LineChart, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import type { Result } from "./backtest.ts";
import type { Bar } from "./bars.ts";
import { percent, ratio } from "./format.ts";

/** More points than this are not seen, and cost a browser time. */
const POINTS_MAX = 500;

interface Point {
    time: string;
    strategy: number;
    hold: number;
    drawdown: number;
}

/** A point for each few days: what was at the end of them, and the lowest of their drawdowns. */
function thin(bars: Bar[], { strategy, hold, drawdown }: Result): Point[] {
    const days = Math.ceil(bars.length / POINTS_MAX);
    const points: Point[] = [];
    for (let at = 0; at < bars.length; at += days) {
        const end = Math.min(at + days, bars.length) - 1;
        const lowest = Math.min(...drawdown.slice(at, end + 1));
        points.push({ time: bars[end].time, strategy: strategy[end], hold: hold[end], drawdown: lowest });
    }
    return points;
}

const axis = { stroke: "var(--muted)", tick: { fontSize: 11 }, tickLine: false, axisLine: false } as const;
const hint = {
    contentStyle: { background: "var(--card)", border: "1px solid var(--grid)", borderRadius: 6, color: "var(--text)" },
    isAnimationActive: false,
} as const;
const still = { isAnimationActive: false, dot: false, type: "linear" } as const;
const margin = { top: 8, right: 8, bottom: 0, left: 0 };

export function Curves({ bars, result }: { bars: Bar[]; result: Result }) {
    const points = useMemo(() => thin(bars, result), [bars, result]);
    const time = <XAxis dataKey="time" minTickGap={48} tickFormatter={(day: string) => day.slice(0, 7)} {...axis} />;
    const grid = <CartesianGrid stroke="var(--grid)" vertical={false} />;
    return (
        <div className="pair">
            <section className="card">
                <header>
                    <h2>Equity</h2>
                    <p className="legend">value of 1.00 invested at the beginning</p>
                </header>
                <div className="curve">
                    <ResponsiveContainer>
                        <LineChart data={points} margin={margin}>
                            {grid}
                            {time}
                            <YAxis width={44} tickFormatter={ratio} {...axis} />
                            <Tooltip formatter={(value) => ratio(Number(value))} {...hint} />
                            <Legend iconType="plainline" />
                            <Line name="Strategy" dataKey="strategy" stroke="var(--fast)" strokeWidth={2} {...still} />
                            <Line name="Buy and hold" dataKey="hold" stroke="var(--muted)" strokeWidth={1.5} {...still} />
                        </LineChart>
                    </ResponsiveContainer>
                </div>
            </section>
            <section className="card">
                <header>
                    <h2>Drawdown</h2>
                    <p className="legend">of the strategy, below its highest value so far</p>
                </header>
                <div className="curve">
                    <ResponsiveContainer>
                        <AreaChart data={points} margin={margin}>
                            {grid}
                            {time}
                            <YAxis width={44} tickFormatter={(value: number) => `${Math.round(value * 100)} %`} {...axis} />
                            <Tooltip formatter={(value) => percent(Number(value))} {...hint} />
                            <Area name="Drawdown" dataKey="drawdown" stroke="var(--down)" fill="var(--down-faint)" {...still} />
                        </AreaChart>
                    </ResponsiveContainer>
                </div>
            </section>
        </div>
    );
}
