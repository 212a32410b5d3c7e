"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const channel = (hex, at) => parseInt(hex.slice(at, at + 2), 16);
  const between = (from, to, place) =>
    "rgb(" + [1, 3, 5].map((at) =>
      Math.round(channel(from, at) * (1 - place) + channel(to, at) * place)).join(",") + ")";

  // A string that names a CSS variable stands for its colour.
  const resolve = (value) => {
    if (Array.isArray(value)) return value.map(resolve);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolve(v)]));
    if (typeof value !== "string" || !value.startsWith("--")) return value;
    const [name, place] = value.split("@");
    return place ? between(css(name + "-from"), css(name + "-to"), Number(place)) : css(name);
  };

  const axis = (given) => ({
    gridcolor: css("--rule"), linecolor: css("--rule"), zeroline: false, automargin: true,
    ticks: "", ...resolve(given),
    title: { text: given.title.text, font: { size: 13 } },
  });

  // Plotly takes the legend's place from the plot; a place of its own keeps the plot its height.
  const legend = (chart, width) => {
    const longest = Math.max(...chart.data.map((trace) => trace.name.length));
    const columns = Math.max(1, Math.floor((width - 70) / (longest * 7.2 + 48)));
    return 20 * (Math.ceil(chart.data.length / columns) - 1);
  };

  const draw = () => {
    for (const [id, chart] of Object.entries(charts)) {
      const { xaxis, yaxis, ...layout } = chart.layout;
      const place = document.getElementById(id);
      const height = Number(place.dataset.height) + legend(chart, place.clientWidth);
      Plotly.react(place, resolve(chart.data), {
        height, width: place.clientWidth,
        font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 56, r: 12, t: 12, b: 52 },
        hoverlabel: { bgcolor: css("--card"), bordercolor: css("--rule"),
          font: { color: css("--ink") } },
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        ...resolve(layout), xaxis: axis(xaxis), yaxis: axis(yaxis),
      }, { displaylogo: false, displayModeBar: false, typesetMath: false });
    }
  };

  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    draw();
  });
  dark.addEventListener("change", draw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) draw();  // a phone's address bar changes the height alone
    width = innerWidth;
  });
  draw();
})();
