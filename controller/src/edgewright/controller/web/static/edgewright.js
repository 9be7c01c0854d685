// Live updates and charts. Every page works without this file.
"use strict";
(() => {
  // --- The stream: closed while the page is hidden, because a browser opens only six of them -----------
  let source = null;
  const lamp = () => document.getElementById("live");
  const show = (state, text) => {
    const element = lamp();
    if (!element) return;
    element.hidden = false;
    element.dataset.state = state;
    element.textContent = text;
  };
  htmx.createEventSource = (url) => {
    source = new EventSource(url);
    source.addEventListener("charts", (event) => draw(JSON.parse(event.data)));
    source.addEventListener("open", () => show("on", "live"));
    source.addEventListener("error", () => show("off", "reconnecting"));
    return source;
  };
  document.addEventListener("visibilitychange", () => {
    if (!source) return;
    if (document.hidden) {
      source.close();
      show("off", "paused");
    } else if (source.readyState === EventSource.CLOSED) {
      source.dispatchEvent(new Event("error")); // the extension opens a closed stream again
    }
  });

  // --- Charts ------------------------------------------------------------------------------------------
  const LANE = 16; // pixels from one row of labels to the next
  const LANES = 5;
  const HEADROOM = 0.06; // share of the span that is kept free right of now, for labels
  const HUES = 6;
  const plots = new Map();
  let data = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const hue = (version) => colour(`--hue-${((version - 1) % HUES) + 1}`);
  const percent = (value) => (value == null ? "–" : `${(value * 100).toFixed(1)} %`);

  // A label stands right of its line in the first lane with room, else left of it, else nowhere.
  function placeLabel(taken, x, text, right, gap) {
    for (const from of [x + gap, x - gap - text]) {
      if (from + text > right) continue;
      const lane = taken.findIndex((spans) => spans.every(([a, b]) => from > b + gap || from + text < a - gap));
      if (lane >= 0) {
        taken[lane].push([Math.min(from, x), Math.max(from + text, x)]);
        return { lane, from };
      }
    }
    return null;
  }

  const lanes = () => Math.min(LANES, data.marks.length);

  function drawMarks(u) {
    const ratio = devicePixelRatio;
    const context = u.ctx;
    const { left, top, width, height } = u.bbox;
    const taken = Array.from({ length: lanes() }, () => []);
    context.save();
    context.font = `${11.5 * ratio}px Inter, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.lineWidth = ratio;
    context.setLineDash([3 * ratio, 3 * ratio]);
    for (const mark of data.marks) {
      const x = u.valToPos(mark.at, "x", true);
      if (x < left - 1 || x > left + width + 1) continue;
      const text = context.measureText(mark.label).width;
      const place = placeLabel(taken, x, text, left + width + 24 * ratio, 5 * ratio);
      const middle = place ? top - (taken.length - place.lane - 0.5) * LANE * ratio : top;
      context.strokeStyle = context.fillStyle = colour(`--${mark.tone}`);
      context.globalAlpha = 0.75;
      context.beginPath();
      context.moveTo(x, middle - (place ? 6 * ratio : 0));
      context.lineTo(x, top + height);
      context.stroke();
      context.globalAlpha = 1;
      if (place) context.fillText(mark.label, place.from, middle);
    }
    context.restore();
  }

  function drawReferences(u, key) {
    const ratio = devicePixelRatio;
    const shown = new Set(data[key].map((series) => series.version));
    u.ctx.save();
    u.ctx.lineWidth = ratio;
    u.ctx.setLineDash([6 * ratio, 4 * ratio]);
    u.ctx.globalAlpha = 0.6;
    for (const reference of data.references) {
      if (reference[key] == null || !shown.has(reference.version)) continue;
      const y = u.valToPos(reference[key], "y", true);
      u.ctx.strokeStyle = hue(reference.version);
      u.ctx.beginPath();
      u.ctx.moveTo(u.bbox.left, y);
      u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
      u.ctx.stroke();
    }
    u.ctx.restore();
  }

  function writeLegend(key, index) {
    const place = document.querySelector(`[data-legend="${key}"]`);
    place.replaceChildren(
      ...data[key].map((series) => {
        const last = series.values.findLastIndex((value) => value != null);
        const value = series.values[index ?? last];
        const item = document.createElement("span");
        const line = document.createElement("i");
        item.className = `hue-${((series.version - 1) % HUES) + 1}`;
        item.append(line, `v${series.version} ${percent(value)}`);
        return item;
      }),
    );
  }

  function yRange(key) {
    const values = data[key].flatMap((series) => series.values).filter((value) => value != null);
    const promised = data.references.map((reference) => reference[key]).filter((value) => value != null);
    if (key === "mispack") return [0, Math.min(1, Math.max(0.1, ...values, ...promised) * 1.12)];
    return [Math.max(0, Math.min(0.9, ...values, ...promised) - 0.03), 1];
  }

  function build(place, key) {
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--muted"), font: "12px Inter, sans-serif", ticks: { show: false }, grid };
    const options = {
      width: place.clientWidth,
      height: place.clientHeight,
      padding: [() => lanes() * LANE + 10, 26, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "charts" }, y: false, drag: { setScale: false }, points: { size: 7 } },
      scales: { x: { range: () => [data.start, data.end + HEADROOM * (data.end - data.start)] }, y: { range: () => yRange(key) } },
      axes: [
        { ...axis, grid: { show: false }, space: 66, size: 30 },
        { ...axis, size: 54, space: 34, values: (_, splits) => splits.map((v) => `${+(v * 100).toFixed(1)} %`) },
      ],
      series: [
        {},
        ...data[key].map((series) => ({
          label: `v${series.version}`,
          stroke: hue(series.version),
          width: 2,
          spanGaps: true,
          points: { show: series.values.filter((value) => value != null).length < 3, size: 6 },
        })),
      ],
      hooks: {
        drawAxes: [(u) => drawReferences(u, key)],
        draw: [drawMarks],
        setCursor: [(u) => writeLegend(key, u.cursor.idx)],
      },
    };
    const long = data.end - data.start > 6 * 3600;
    options.axes[0].values = (_, splits) => splits.map((at) => timeLabel(at, long, data.end - data.start));
    return new uPlot(options, columns(key), place);
  }

  function timeLabel(at, long, span) {
    const moment = new Date(at * 1000);
    if (span > 48 * 3600) return moment.toLocaleDateString(undefined, { day: "numeric", month: "short" });
    const parts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    if (!long && span < 1200) parts.second = "2-digit";
    return moment.toLocaleTimeString(undefined, parts);
  }

  const columns = (key) => [data.times, ...data[key].map((series) => series.values)];

  function draw(next) {
    data = next;
    if (!data.times.length) return;
    for (const place of document.querySelectorAll("[data-plot]")) {
      const key = place.dataset.plot;
      const versions = data[key].map((series) => series.version).join();
      const known = plots.get(key);
      if (known && known.versions === versions) {
        known.plot.setData(columns(key));
      } else {
        known?.plot.destroy();
        place.replaceChildren();
        plots.set(key, { versions, plot: build(place, key) });
      }
      writeLegend(key, null);
    }
  }

  function redraw() {
    for (const { plot } of plots.values()) plot.destroy();
    plots.clear();
    if (data) draw(data);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const first = document.getElementById("charts-data");
    if (!first || typeof uPlot === "undefined") return;
    document.fonts.ready.then(() => draw(JSON.parse(first.textContent)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    new ResizeObserver(() => {
      for (const [key, { plot }] of plots) {
        const place = document.querySelector(`[data-plot="${key}"]`);
        plot.setSize({ width: place.clientWidth, height: place.clientHeight });
      }
    }).observe(document.getElementById("charts"));
  });
})();
