// The parts of a report that move: tables that sort, the chart of prices, what is below the pointer. All data is in the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.body.classList.add("js");

  const element = (name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  // As `number` in write.rs writes it: commas, a wide minus, no zero with a sign.
  const written = (value, decimals) => {
    if (!Number.isFinite(value)) return "n/a";
    if (Math.abs(value) >= 1e15) return value.toExponential(3).replace("e+", "e").replaceAll("-", "\u2212");
    const [whole, rest] = Math.abs(value).toFixed(decimals).split(".");
    const text = whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest ? "." + rest : "");
    return (value < 0 && /[1-9]/.test(text) ? "\u2212" : "") + text;
  };
  const percent = (value, decimals) => written(value, decimals) + (Number.isFinite(value) ? "\u00a0%" : "");
  const isoDay = (days) => new Date(Math.floor(days) * 86400000).toISOString().slice(0, 10);

  const shown = (column, row) => {
    const cell = column.cells[row];
    if (column.kind === "text") return column.texts[cell];
    return column.kind === "percent" ? percent(cell, column.decimals) : written(cell, column.decimals);
  };

  // A table: sorted by the heading that is pressed, a page at a time, only rows that hold the words asked for.
  const sorts = (id) => {
    const table = document.getElementById(id);
    const pages = document.getElementById(id + "-pages");
    if (!table || !data[id]) return;
    const { columns, page } = data[id];
    const count = columns[0].cells.length;
    const headings = [...table.tHead.rows[0].cells];
    const right = headings.map((heading) => heading.className);
    let rows = Array.from({ length: count }, (_, at) => at);
    let words = [];
    let first = 0;
    let by = -1;
    let down = false;

    const draw = () => {
      const body = element("tbody");
      for (const row of rows.slice(first, first + page)) {
        const line = body.insertRow();
        columns.forEach((column, at) => {
          const cell = line.insertCell();
          cell.textContent = shown(column, row);
          if (right[at]) cell.className = right[at];
          if (cell.textContent.length > 30) cell.title = cell.textContent;
        });
      }
      table.tBodies[0].replaceWith(body);
      const last = Math.min(first + page, rows.length);
      status.textContent = count <= page ? "" : rows.length === 0 ? "No row." : `Rows ${written(first + 1, 0)} to ${written(last, 0)} of ${written(rows.length, 0)}`;
      before.disabled = first === 0;
      after.disabled = last >= rows.length;
      before.hidden = after.hidden = rows.length <= page;
    };
    const arrange = () => {
      rows = Array.from({ length: count }, (_, at) => at).filter((row) =>
        words.every((word) => columns.some((column) => shown(column, row).toLowerCase().includes(word))));
      if (by >= 0) {
        const { cells } = columns[by];
        const sign = down ? -1 : 1;
        // What is missing comes last either way; equal ones stay in order of rank.
        rows.sort((a, b) => {
          const [x, y] = [cells[a], cells[b]];
          if (x === y) return a - b;
          if (x === null) return 1;
          if (y === null) return -1;
          return sign * (x - y);
        });
      }
      first = 0;
      draw();
    };
    const turn = (to) => { first = to; draw(); };

    headings.forEach((heading, at) => {
      const button = element("button", heading.textContent);
      button.type = "button";
      button.addEventListener("click", () => {
        const numeric = columns[at].kind !== "text";
        down = by === at ? !down : numeric && at > 0;
        by = at;
        headings.forEach((other, place) =>
          place === at ? other.setAttribute("aria-sort", down ? "descending" : "ascending") : other.removeAttribute("aria-sort"));
        arrange();
      });
      heading.replaceChildren(button);
    });
    const before = element("button", "Previous");
    const after = element("button", "Next");
    const status = element("span");
    before.type = after.type = "button";
    status.setAttribute("role", "status");
    before.addEventListener("click", () => turn(Math.max(0, first - page)));
    after.addEventListener("click", () => turn(first + page));
    pages.replaceChildren(before, after, status);
    if (count > page) {
      const tools = element("div");
      tools.className = "tools";
      const label = element("label", "Only rows with");
      const input = element("input");
      input.type = "search";
      input.addEventListener("input", () => {
        words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        arrange();
      });
      label.append(input);
      tools.append(label);
      table.parentElement.before(tools);
    }
    draw();
  };

  // What the curves are at the pointer, or at the arrow keys.
  const readsOut = () => {
    const figure = document.getElementById("curve");
    const { day, own, hold, capital } = data.curve;
    if (!figure || day.length === 0) return;
    const readout = document.getElementById("curve-readout");
    const grown = (value) => `${written(value, 0)} (${value > capital ? "+" : ""}${percent((value / capital - 1) * 100, 1)})`;
    const nearest = (time) => {
      let [low, high] = [0, day.length - 1];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (day[middle] <= time) low = middle; else high = middle;
      }
      return time - day[low] <= day[high] - time ? low : high;
    };
    for (const svg of figure.querySelectorAll("svg")) {
      const [left, right, begin, end] = svg.dataset.time.split(" ").map(Number);
      const box = svg.viewBox.baseVal;
      const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
      cursor.setAttribute("class", "cursor");
      svg.append(cursor);
      let at = day.length - 1;
      const say = () => {
        const x = left + (day[at] - begin) / Math.max(end - begin, 1e-9) * (right - left);
        cursor.setAttribute("d", `M${x} 0V${box.height}`);
        const against = hold.length ? `, buy and hold ${grown(hold[at])}` : "";
        readout.textContent = `${isoDay(day[at])}: strategy ${grown(own[at])}${against}`;
      };
      svg.addEventListener("pointermove", (event) => {
        const place = svg.getBoundingClientRect();
        const x = (event.clientX - place.left) / place.width * box.width;
        at = nearest(begin + (x - left) / (right - left) * (end - begin));
        say();
      });
      svg.addEventListener("pointerleave", () => cursor.removeAttribute("d"));
      svg.setAttribute("tabindex", "0");
      svg.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -50, PageDown: 50, Home: -Infinity, End: Infinity }[event.key];
        if (step === undefined) return;
        at = Math.min(Math.max(at + step, 0), day.length - 1);
        event.preventDefault();
        say();
      });
    }
  };

  const chartsPrices = () => {
    const place = document.getElementById("price-chart");
    if (!place || data.bars.length === 0) return;
    const { createChart, createSeriesMarkers, CandlestickSeries, PriceScaleMode } = window.LightweightCharts;
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    const chart = createChart(place, {
      autoSize: true,
      // The line below the page names its maker and links to it.
      layout: { attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily },
      timeScale: { minBarSpacing: 0.01, rightOffset: 2 },
      localization: { timeFormatter: (time) => isoDay(time / 86400) },
    });
    const series = chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineVisible: false });
    const markers = createSeriesMarkers(series, [], { autoScale: false });
    const readout = document.getElementById("price-readout");
    let bars = data.bars[0];
    const say = (at) => {
      const price = (name) => written(bars[name][at], bars.decimals);
      readout.textContent = `${bars.symbol} ${isoDay(bars.time[at] / 86400)}: open ${price("open")}, high ${price("high")}, low ${price("low")}, close ${price("close")}`;
    };
    const paint = () => {
      const [ink, faint, rule, gain, loss] = ["ink", "faint", "rule", "gain", "loss"].map(colour);
      chart.applyOptions({
        layout: { background: { color: colour("ground") }, textColor: faint },
        grid: { vertLines: { visible: false }, horzLines: { color: rule } },
        rightPriceScale: { borderColor: rule },
        timeScale: { borderColor: rule },
        crosshair: { vertLine: { color: faint }, horzLine: { color: faint } },
      });
      series.applyOptions({ upColor: gain, downColor: loss, wickUpColor: gain, wickDownColor: loss });
      markers.setMarkers(bars.tips.map(([at, buys]) => ({
        time: bars.time[at],
        position: buys ? "belowBar" : "aboveBar",
        shape: buys ? "arrowUp" : "arrowDown",
        color: buys ? colour("own") : ink,
      })));
    };
    const show = (chosen) => {
      bars = chosen;
      series.setData(bars.time.map((time, at) => ({ time, open: bars.open[at], high: bars.high[at], low: bars.low[at], close: bars.close[at] })));
      series.applyOptions({ priceFormat: { type: "price", precision: bars.decimals, minMove: 10 ** -bars.decimals } });
      const [low, high] = [bars.low, bars.high].map((prices, at) => prices.reduce((a, b) => (at ? Math.max(a, b) : Math.min(a, b))));
      chart.priceScale("right").applyOptions({ scaleMargins: { top: 0.08, bottom: 0.08 }, mode: low > 0 && high / low > 4 ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal });
      paint();
      chart.timeScale().fitContent();
      say(bars.time.length - 1);
    };
    chart.subscribeCrosshairMove((event) => event.logical !== undefined && say(Math.min(Math.max(Math.round(event.logical), 0), bars.time.length - 1)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    if (data.bars.length > 1) {
      const tools = element("div");
      tools.className = "tools";
      const label = element("label", "Symbol");
      const select = element("select");
      data.bars.forEach((one, at) => select.add(new Option(one.symbol, at)));
      select.addEventListener("change", () => show(data.bars[select.value]));
      label.append(select);
      tools.append(label);
      place.before(tools);
    }
    show(bars);
  };

  sorts("runs");
  sorts("trades");
  readsOut();
  chartsPrices();
})();
