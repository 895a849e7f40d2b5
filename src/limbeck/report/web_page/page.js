"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  let data = page.charts;
  const hidden = new Set(); // names of the arms that are switched off
  const sorted = new Map(); // by caption: the column and the direction that a table is sorted by
  let plots = [];
  let range = null; // the zoomed epochs, null for all

  const element = (tag, options = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), options);
    node.append(...children);
    return node;
  };
  const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const percent = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const number = (value, chart) =>
    value == null ? "–" : chart.unit === "%" ? percent.format(value) : plain.format(value);

  // Tables

  const sortTable = (table, column, descending) => {
    const value = (row) => {
      const cell = row.cells[column];
      if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
      const text = cell.textContent.trim();
      return text === "–" ? null : text;
    };
    const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what is missing stands last
      const order = typeof a === "number" && typeof b === "number"
        ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return descending ? -order : order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((cell, place) => {
      if (place === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    sorted.set(table.caption.textContent, [column, descending]);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".sort");
    if (!button) return;
    const cell = button.closest("th");
    const table = cell.closest("table");
    const state = cell.getAttribute("aria-sort");
    const numbers = [...table.tBodies[0].rows].some((row) => row.cells[cell.cellIndex].dataset.value !== undefined);
    sortTable(table, cell.cellIndex, state === null ? numbers : state === "ascending");
  });

  // Charts

  const lines = (arm) => (arm.seeds > 1 ? ["mean", "low", "high"] : ["mean"]);

  const readout = (place, chart, where) => {
    if (place == null || place >= data.epochs.length) return;
    const epoch = data.epochs[place];
    const values = data.arms
      .map((arm, index) => ({ arm, value: chart.lines[index].mean[place] }))
      .filter(({ arm, value }) => value != null && !hidden.has(arm.name))
      .sort((a, b) => b.value - a.value);
    const shown = values.slice(0, 8).map(({ arm, value }) => {
      const mark = element("i");
      mark.style.background = arm.colour;
      return element("span", {}, mark, `${arm.name} ${number(value, chart)}`);
    });
    const more = values.length > 8 ? [`and ${values.length - 8} more in the table`] : [];
    where.replaceChildren(element("span", {}, element("strong", {}, `Epoch ${epoch}`)), ...shown, ...more);
  };

  const zoom = (min, max) => {
    const [first, last] = [data.epochs[0], data.epochs[data.epochs.length - 1]];
    range = min <= first && max >= last ? null : [min, max];
    for (const { plot } of plots) plot.setScale("x", { min: range ? min : first, max: range ? max : last });
  };

  const chartOf = (id) => data.charts.find((chart) => chart.id === id);
  const columns = (chart) => [
    data.epochs,
    ...data.arms.flatMap((arm, index) => lines(arm).map((line) => chart.lines[index][line])),
  ];

  const draw = (chart, figure) => {
    const place = figure.querySelector(".plot");
    const where = figure.querySelector(".readout");
    const series = [{ label: "epoch" }];
    const bands = [];
    for (const arm of data.arms) {
      const base = { show: !hidden.has(arm.name), spanGaps: true, label: arm.name };
      const points = { show: data.epochs.length < 3 };
      series.push({ ...base, stroke: arm.colour, width: 2, dash: arm.dash, points });
      if (arm.seeds > 1) {
        const edge = { ...base, stroke: "transparent", width: 0, points: { show: false } };
        series.push(edge, { ...edge });
        bands.push({ series: [series.length - 1, series.length - 2], fill: `${arm.colour}2b` });
      }
    }
    const axis = { stroke: "#55595f", grid: { stroke: "#e4e7ea", width: 1 }, ticks: { show: false } };
    const plot = new uPlot({
      width: place.clientWidth,
      height: 260,
      series,
      bands,
      legend: { show: false },
      cursor: { sync: { key: "epochs" }, y: false, focus: { prox: 24 }, drag: { x: true, y: false }, points: { size: 7 } },
      focus: { alpha: 0.3 },
      scales: { x: { time: false, range: (u, min, max) => (min === max ? [min - 1, max + 1] : [min, max]) }, ...(chart.log ? { y: { distr: 3 } } : {}) },
      axes: [
        { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], values: (u, all) => all.map((v) => `${v}`) },
        { ...axis, size: 56, values: (u, all) => all.map((v) => (v == null ? "" : plain.format(v))) },
      ],
      hooks: {
        setCursor: [(u) => readout(u.cursor.idx, chartOf(chart.id), where)],
        setSelect: [(u) => u.select.width > 4 && zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"))],
        ready: [(u) => u.over.addEventListener("dblclick", () => zoom(-Infinity, Infinity))],
      },
    }, columns(chart), place);
    plot.root.setAttribute("aria-hidden", "true");
    place.tabIndex = 0;
    place.setAttribute("role", "img");
    const last = data.epochs.length - 1;
    const told = data.arms.map((arm, index) => `${arm.name} ${number(chart.lines[index].mean[last], chart)}`);
    place.setAttribute("aria-label", `${chart.title} by epoch. At epoch ${data.epochs[last]}: ${told.slice(0, 8).join(", ")}. ` +
      "Left and right arrow keys read the values of other epochs; a table follows.");
    let at = last;
    place.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") zoom(-Infinity, Infinity);
      if (step === undefined) return;
      event.preventDefault();
      at = Math.min(Math.max((plot.cursor.idx ?? at) + step, 0), data.epochs.length - 1);
      plot.setCursor({ left: plot.valToPos(data.epochs[at], "x"), top: 10 });
      readout(at, chartOf(chart.id), where);
    };
    readout(last, chart, where);
    plots.push({ plot, id: chart.id, place });
  };

  const table = (chart) => {
    const head = element("tr", {}, element("th", { scope: "col" }, "Epoch"),
      ...data.arms.map((arm) => element("th", { scope: "col" }, arm.seeds > 1 ? `${arm.name} (mean of ${arm.seeds})` : arm.name)));
    const body = data.epochs.map((epoch, place) => element("tr", {}, element("th", { scope: "row" }, `${epoch}`),
      ...chart.lines.map((line) => element("td", {}, number(line.mean[place], chart)))));
    return element("table", {}, element("caption", {}, `${chart.title} by epoch`), element("thead", {}, head), element("tbody", {}, ...body));
  };

  const fill = (details) => {
    const figure = details.closest("[data-chart]");
    const chart = figure && data.charts.find((one) => one.id === figure.dataset.chart);
    if (chart) details.querySelector(".values").replaceChildren(table(chart));
  };
  document.addEventListener("toggle", (event) => event.target.open && fill(event.target), true);

  const toggle = (arm, on) => {
    if (on) hidden.delete(arm.name); else hidden.add(arm.name);
    for (const { plot } of plots) {
      let place = 1;
      plot.batch(() => {
        for (const one of data.arms) {
          for (const _ of lines(one)) {
            if (one.name === arm.name) plot.setSeries(place, { show: on });
            place += 1;
          }
        }
      });
    }
  };

  const swatch = (arm) => {
    const space = "http://www.w3.org/2000/svg";
    const [svg, line] = [document.createElementNS(space, "svg"), document.createElementNS(space, "line")];
    for (const [key, value] of Object.entries({ width: 24, height: 10, "aria-hidden": "true" })) svg.setAttribute(key, value);
    const drawn = { x1: 0, x2: 24, y1: 5, y2: 5, stroke: arm.colour, "stroke-width": 3, "stroke-dasharray": arm.dash.join(" ") };
    for (const [key, value] of Object.entries(drawn)) line.setAttribute(key, value);
    svg.append(line);
    return svg;
  };

  const drawAll = () => {
    for (const { plot } of plots) plot.destroy();
    plots = [];
    const arms = document.getElementById("arms");
    if (!arms || typeof uPlot === "undefined") return;
    arms.replaceChildren(...data.arms.map((arm) => {
      const button = element("button", { type: "button" }, swatch(arm), arm.role === "teacher" ? `${arm.name} (teacher)` : arm.name);
      button.setAttribute("aria-pressed", String(!hidden.has(arm.name)));
      button.onclick = () => {
        const on = hidden.has(arm.name);
        toggle(arm, on);
        button.setAttribute("aria-pressed", String(on));
      };
      return button;
    }));
    for (const chart of data.charts) draw(chart, document.querySelector(`[data-chart="${chart.id}"]`));
    const last = data.epochs[data.epochs.length - 1];
    document.getElementById("late").onclick = () => zoom(Math.max(data.epochs[0], Math.floor(last * 0.75)), last);
    document.getElementById("all").onclick = () => zoom(-Infinity, Infinity);
    if (range) zoom(...range);
  };

  const resize = () => {
    for (const { plot, place } of plots) plot.setSize({ width: place.clientWidth, height: 260 });
  };
  addEventListener("resize", resize);
  addEventListener("beforeprint", () => {
    for (const node of document.querySelectorAll("details:not(.chart details)")) node.open = true;
  });

  drawAll();

  // A live page

  const status = document.getElementById("status");
  const say = (text) => { if (status.textContent !== text) status.textContent = text; };
  const shape = (charts) => JSON.stringify([charts.arms, charts.charts.map((chart) => chart.id)]);

  const update = (fresh) => {
    const same = shape(fresh.charts) === shape(data);
    data = fresh.charts;
    for (const [name, html] of Object.entries(fresh.sections)) {
      const section = document.getElementById(name);
      if (name === "curves" && same && section.innerHTML) continue;
      if (section.dataset.source === html) continue;
      const open = [...section.querySelectorAll("details[open] > summary")].map((node) => node.textContent);
      section.dataset.source = html;
      section.innerHTML = html;
      section.hidden = !html;
      for (const node of section.querySelectorAll("summary")) node.parentElement.open = open.includes(node.textContent);
      for (const node of section.querySelectorAll("table.sortable")) {
        const by = sorted.get(node.caption.textContent);
        if (by) sortTable(node, ...by);
      }
    }
    if (!same || !plots.length) drawAll();
    else for (const { plot, id } of plots) plot.setData(columns(chartOf(id)), range === null);
    for (const node of document.querySelectorAll(".chart details[open]")) fill(node);
  };

  const ask = async (tag) => {
    let next = tag;
    let state = "unfinished";
    try {
      const answer = await fetch("live.json", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        next = answer.headers.get("ETag");
        const fresh = await answer.json();
        state = fresh.state;
        update(fresh);
      } else if (answer.status !== 304) throw new Error(answer.statusText);
      say(state === "finished" ? "Finished." : `Live: last looked at ${new Date().toLocaleTimeString()}.`);
    } catch {
      say("The server does not answer; this is the last state that it gave. It is asked again every few seconds.");
    }
    if (state !== "finished") setTimeout(() => ask(next), 2000);
  };
  if (page.live && page.state !== "finished") ask(null);
})();
