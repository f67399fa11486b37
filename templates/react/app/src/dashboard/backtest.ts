// Two moving averages that cross. Decided at a day's close, filled at the next day's open, everything or nothing invested,
// gains reinvested, what is still held valued at the last close.

import type { Bar } from "./bars.ts";

const DAYS_A_YEAR = 252;

/** What the strategy is told. */
export interface Settings {
    /** Days of the fast average. */
    fast: number;
    /** Days of the slow average. */
    slow: number;
    /** Cost of each side, in hundredths of a percent of what is traded. */
    costBp: number;
}

/** Figures of one curve; those of a year are missing where there is less than a year. */
export interface Figures {
    totalReturn: number;
    maxDrawdown: number;
    cagr: number | null;
    sharpe: number | null;
}

/** A position taken or given up at a day's open. */
export interface Trade {
    time: string;
    side: "buy" | "sell";
    price: number;
}

/** What came of it, day by day. */
export interface Result {
    fast: (number | null)[];
    slow: (number | null)[];
    /** Value of 1 that was invested at the beginning. */
    strategy: number[];
    hold: number[];
    /** How far below its highest value so far, as a share of it: 0 or less. */
    drawdown: number[];
    trades: Trade[];
    figures: { strategy: Figures; hold: Figures };
}

/** Mean of the last `days` values, from the day on which there are as many. */
export function sma(values: number[], days: number): (number | null)[] {
    let sum = 0;
    return values.map((value, at) => {
        sum += value - (at >= days ? values[at - days] : 0);
        return at >= days - 1 ? sum / days : null;
    });
}

export function backtest(bars: Bar[], { fast, slow, costBp }: Settings): Result {
    const closes = bars.map((bar) => bar.close);
    const averages = { fast: sma(closes, fast), slow: sma(closes, slow) };
    const cost = costBp / 10_000;
    const strategy: number[] = [];
    const hold: number[] = [];
    const trades: Trade[] = [];
    let held = false;
    bars.forEach((bar, at) => {
        const last = at === 0 ? bar.close : closes[at - 1];
        const [f, s] = at === 0 ? [null, null] : [averages.fast[at - 1], averages.slow[at - 1]];
        const wanted = f !== null && s !== null && f > s;
        let growth = held ? bar.close / last : 1;
        if (wanted !== held) {
            growth = (wanted ? bar.close / bar.open : bar.open / last) * (1 - cost);
            trades.push({ time: bar.time, side: wanted ? "buy" : "sell", price: bar.open });
        }
        held = wanted;
        strategy.push((strategy[at - 1] ?? 1) * growth);
        // Bought at the first close.
        hold.push(at === 0 ? 1 - cost : hold[at - 1] * (bar.close / last));
    });
    return {
        ...averages,
        strategy,
        hold,
        drawdown: drawdown(strategy),
        trades,
        figures: { strategy: figures(strategy), hold: figures(hold) },
    };
}

function drawdown(curve: number[]): number[] {
    let highest = 1;
    return curve.map((value) => {
        highest = Math.max(highest, value);
        return value / highest - 1;
    });
}

function figures(curve: number[]): Figures {
    const last = curve.at(-1) ?? 1;
    const result: Figures = {
        totalReturn: last - 1,
        maxDrawdown: drawdown(curve).reduce((lowest, value) => Math.min(lowest, value), 0),
        cagr: null,
        sharpe: null,
    };
    if (curve.length >= DAYS_A_YEAR) {
        const daily = curve.slice(1).map((value, at) => value / curve[at] - 1);
        const mean = daily.reduce((sum, value) => sum + value, 0) / daily.length;
        const variance = daily.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (daily.length - 1);
        result.cagr = last ** (DAYS_A_YEAR / daily.length) - 1;
        // Never invested is no risk, and no ratio.
        result.sharpe = variance > 0 ? (mean / Math.sqrt(variance)) * Math.sqrt(DAYS_A_YEAR) : null;
    }
    return result;
}
