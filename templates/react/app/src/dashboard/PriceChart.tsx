// Candlesticks with volume, both averages, and where the strategy bought and sold.

import {
    CandlestickSeries,
    ColorType,
    createChart,
    createSeriesMarkers,
    HistogramSeries,
    LineSeries,
    type IChartApi,
    type ISeriesApi,
    type ISeriesMarkersPluginApi,
    type Time,
} from "lightweight-charts";
import { useEffect, useRef, useState } from "react";
import type { Result } from "./backtest.ts";
import type { Bar } from "./bars.ts";
import { price, volume } from "./format.ts";
import { colour, type Theme } from "./theme.ts";

/** Names of ranges, and how many days of trading they are. */
const RANGES: [string, number][] = [["6M", 126], ["1Y", 252], ["3Y", 756], ["All", Infinity]];

interface Drawn {
    chart: IChartApi;
    candles: ISeriesApi<"Candlestick">;
    volumes: ISeriesApi<"Histogram">;
    fast: ISeriesApi<"Line">;
    slow: ISeriesApi<"Line">;
    markers: ISeriesMarkersPluginApi<Time>;
}

export function PriceChart({ bars, result, theme }: { bars: Bar[]; result: Result; theme: Theme }) {
    const place = useRef<HTMLDivElement>(null);
    const drawn = useRef<Drawn | null>(null);
    const [range, setRange] = useState("1Y");
    const [pointed, setPointed] = useState<string | null>(null);

    useEffect(() => {
        const chart = createChart(place.current!, { autoSize: true, rightPriceScale: { borderVisible: false } });
        const line = { lineWidth: 2, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false } as const;
        const candles = chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineVisible: false });
        const fast = chart.addSeries(LineSeries, line);
        const slow = chart.addSeries(LineSeries, line);
        const volumes = chart.addSeries(
            HistogramSeries,
            { priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false },
            1,
        );
        chart.panes()[0].setStretchFactor(4);
        chart.panes()[1].setStretchFactor(1);
        chart.subscribeCrosshairMove(({ time }) => setPointed(typeof time === "string" ? time : null));
        drawn.current = { chart, candles, volumes, fast, slow, markers: createSeriesMarkers(candles, []) };
        return () => {
            drawn.current = null;
            chart.remove();
        };
    }, []);

    useEffect(() => {
        const { chart, candles, volumes, fast, slow, markers } = drawn.current!;
        const [up, down] = [colour("up"), colour("down")];
        const grid = { color: colour("grid") };
        chart.applyOptions({
            layout: {
                background: { type: ColorType.Solid, color: colour("card") },
                textColor: colour("muted"),
                fontFamily: getComputedStyle(document.body).fontFamily,
                panes: { separatorColor: colour("grid"), enableResize: false },
            },
            grid: { vertLines: grid, horzLines: grid },
            timeScale: { borderColor: colour("grid") },
        });
        candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
        fast.applyOptions({ color: colour("fast") });
        slow.applyOptions({ color: colour("slow") });
        candles.setData(bars);
        volumes.setData(
            bars.map((bar) => ({
                time: bar.time,
                value: bar.volume,
                color: colour(bar.close >= bar.open ? "up-faint" : "down-faint"),
            })),
        );
        const points = (values: (number | null)[]) =>
            values.flatMap((value, at) => (value === null ? [] : [{ time: bars[at].time, value }]));
        fast.setData(points(result.fast));
        slow.setData(points(result.slow));
        markers.setMarkers(
            result.trades.map(({ time, side }) =>
                side === "buy"
                    ? { time, position: "belowBar", shape: "arrowUp", color: colour("fast") }
                    : { time, position: "aboveBar", shape: "arrowDown", color: colour("slow") },
            ),
        );
    }, [bars, result, theme]);

    useEffect(() => {
        const days = Math.min(RANGES.find(([name]) => name === range)![1], bars.length);
        drawn.current!.chart.timeScale().setVisibleLogicalRange({ from: bars.length - days, to: bars.length + 4 });
    }, [bars, range]);

    const shown = bars.find((bar) => bar.time === pointed) ?? bars[bars.length - 1];
    return (
        <section className="card">
            <header>
                <h2>Price</h2>
                <p className="legend" data-testid="bar">
                    <time>{shown.time}</time> O {price(shown.open)} H {price(shown.high)} L {price(shown.low)} C{" "}
                    {price(shown.close)} V {volume(shown.volume)}
                </p>
                <div className="buttons" role="group" aria-label="Range">
                    {RANGES.map(([name]) => (
                        <button key={name} type="button" aria-pressed={name === range} onClick={() => setRange(name)}>
                            {name}
                        </button>
                    ))}
                </div>
            </header>
            <div className="price" ref={place} role="img" aria-label="Candlesticks, volume and moving averages" />
        </section>
    );
}
