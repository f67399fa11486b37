// The page: a symbol's bars, a strategy on them, and what came of it.

import { useEffect, useMemo, useState } from "react";
import { backtest, type Figures, type Settings } from "./backtest.ts";
import { ask, type Bar, type Listed } from "./bars.ts";
import { Curves } from "./Curves.tsx";
import { percent, ratio } from "./format.ts";
import { PriceChart } from "./PriceChart.tsx";
import { type Theme, useTheme } from "./theme.ts";
import "./dashboard.css";

/** What was asked for: on its way, there, or refused. */
type Answer<T> = { state: "waiting" } | { state: "there"; value: T } | { state: "failed"; message: string };

/** Asks the server, and anew whenever `path` or `attempt` is another. Asks nothing while `path` is null. */
function useAnswer<T>(path: string | null, attempt: number): Answer<T> {
    const [answered, setAnswered] = useState<{ key: string; answer: Answer<T> } | null>(null);
    const key = `${attempt} ${path}`;
    useEffect(() => {
        if (path === null) {
            return;
        }
        const ended = new AbortController();
        const keep = (answer: Answer<T>) => ended.signal.aborted || setAnswered({ key, answer });
        ask<T>(path, ended.signal).then(
            (value) => keep({ state: "there", value }),
            (error: Error) => keep({ state: "failed", message: error.message }),
        );
        return () => ended.abort();
    }, [path, key]);
    return answered?.key === key ? answered.answer : { state: "waiting" };
}

/** `given`: the symbols, where the server that rendered the page knows them already. */
export function Dashboard({ given }: { given?: Listed[] }) {
    const [theme, setTheme] = useTheme();
    const [attempt, setAttempt] = useState(0);
    const [chosen, setChosen] = useState<string | null>(null);
    const [settings, setSettings] = useState<Settings>({ fast: 20, slow: 50, costBp: 10 });
    const asked = useAnswer<Listed[]>(given ? null : "/api/symbols", attempt);
    const symbols: Answer<Listed[]> = given ? { state: "there", value: given } : asked;
    const listed = symbols.state === "there" ? symbols.value : [];
    const symbol = chosen ?? listed[0]?.symbol ?? null;
    const path = symbol && `/api/bars?symbol=${encodeURIComponent(symbol)}`;
    const bars = useAnswer<Bar[]>(path, attempt);
    const failed = [symbols, bars].find((answer) => answer.state === "failed");

    let content;
    if (failed) {
        content = (
            <div className="card message" role="alert">
                <h2>There is nothing to show</h2>
                <p>{failed.message}</p>
                <button type="button" onClick={() => setAttempt(attempt + 1)}>
                    Try again
                </button>
            </div>
        );
    } else if (symbols.state === "there" && listed.length === 0) {
        content = <Message title="There are no symbols" text="/data/manifest.json lists none." />;
    } else if (bars.state !== "there") {
        content = <div className="card message waiting" role="status">Reading bars …</div>;
    } else if (bars.value.length === 0) {
        content = <Message title="There are no bars" text={`/data holds none of ${symbol}.`} />;
    } else {
        content = <Study bars={bars.value} settings={settings} theme={theme} />;
    }

    return (
        <main>
            <header className="top">
                <h1>Trading dashboard</h1>
                <div className="buttons" role="group" aria-label="Symbol">
                    {listed.map(({ symbol: name, first, last }) => (
                        <button
                            key={name}
                            type="button"
                            title={`${first} to ${last}`}
                            aria-pressed={name === symbol}
                            onClick={() => setChosen(name)}
                        >
                            {name}
                        </button>
                    ))}
                </div>
                <Controls settings={settings} onChange={setSettings} />
                <button type="button" className="theme" onClick={() => setTheme(theme === "dark" ? "light" : "dark")}>
                    {theme === "dark" ? "Light" : "Dark"}
                </button>
            </header>
            {content}
            <footer>
                Daily bars of /data, adjusted for splits and dividends. Decided at the close, filled at the next open, all in or out,
                compounding. CAGR and Sharpe on 252 days a year, without a risk-free rate.
            </footer>
        </main>
    );
}

function Message({ title, text }: { title: string; text: string }) {
    return (
        <div className="card message">
            <h2>{title}</h2>
            <p>{text}</p>
        </div>
    );
}

function Study({ bars, settings, theme }: { bars: Bar[]; settings: Settings; theme: Theme }) {
    const result = useMemo(() => backtest(bars, settings), [bars, settings]);
    const { strategy, hold } = result.figures;
    const bought = result.trades.filter((trade) => trade.side === "buy").length;
    const rows: [string, string, (figures: Figures) => string][] = [
        ["Total return", "return", (figures) => percent(figures.totalReturn)],
        ["CAGR", "cagr", (figures) => percent(figures.cagr)],
        ["Sharpe", "sharpe", (figures) => ratio(figures.sharpe)],
        ["Max drawdown", "drawdown", (figures) => percent(figures.maxDrawdown)],
    ];
    return (
        <>
            <dl className="figures">
                {rows.map(([name, id, show]) => (
                    <div className="card" key={id}>
                        <dt>{name}</dt>
                        <dd data-testid={id}>{show(strategy)}</dd>
                        <dd className="beside">{show(hold)} held</dd>
                    </div>
                ))}
                <div className="card">
                    <dt>Positions</dt>
                    <dd data-testid="trades">{bought}</dd>
                    <dd className="beside">{bars.length.toLocaleString("en-US")} days</dd>
                </div>
            </dl>
            <PriceChart bars={bars} result={result} theme={theme} />
            <Curves bars={bars} result={result} />
        </>
    );
}

function Controls({ settings, onChange }: { settings: Settings; onChange: (settings: Settings) => void }) {
    const field = (name: keyof Settings, label: string, min: number, max: number) => (
        <label>
            {label}
            <input
                type="number"
                name={name}
                min={min}
                max={max}
                value={settings[name]}
                onChange={(event) => {
                    const value = event.target.valueAsNumber;
                    // What is being typed may be no number yet.
                    if (Number.isInteger(value) && value >= min && value <= max) {
                        onChange({ ...settings, [name]: value });
                    }
                }}
            />
        </label>
    );
    return (
        <div className="controls">
            {field("fast", "Fast", 1, 400)}
            {field("slow", "Slow", 1, 400)}
            {field("costBp", "Cost, bp", 0, 1000)}
        </div>
    );
}
