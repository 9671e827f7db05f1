// What pages do by script: they look again when the stream says so, show times in the reader's zone, and draw charts.
// Without it everything is there, and is refreshed by hand.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const language = root.lang || "en";

  // Times are written in UTC; here the reader's zone is known.
  const shown = {
    full: { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" },
    clock: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" },
  };
  const format = {
    // Year, month, day: no order of them is everybody's.
    full: new Intl.DateTimeFormat(language === "en" ? "en-CA" : language, shown.full),
    clock: new Intl.DateTimeFormat(language, shown.clock),
  };
  function localise(within) {
    for (const time of within.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) {
        time.textContent = format[time.hasAttribute("data-clock") ? "clock" : "full"].format(at);
      }
    }
  }

  // A new part takes the place of an old one node by node, so that focus, selection and what was opened stay.
  function alike(old, fresh) {
    return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");
  }
  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const kept = [...old.childNodes];
    const wanted = [...fresh.childNodes];
    wanted.forEach((child, at) => {
      const there = kept[at];
      if (!there) old.append(child);
      else if (alike(there, child)) morph(there, child);
      else there.replaceWith(child);
    });
    kept.slice(wanted.length).forEach((child) => child.remove());
  }

  const announcer = document.getElementById("announcer");
  function announce(text) {
    if (announcer && text && announcer.textContent !== text) announcer.textContent = text;
  }

  if (window.htmx) {
    htmx.defineExtension("morph", {
      isInlineSwap: (style) => style === "morph",
      handleSwap: (style, target, fragment) => {
        if (style !== "morph") return false;
        const fresh = fragment.firstElementChild || fragment;
        if (!fresh || fresh.nodeType !== Node.ELEMENT_NODE) return true;
        localise(fresh);
        const before = target.dataset.say;
        morph(target, fresh);
        if (before !== target.dataset.say) announce(target.dataset.say);
        return true;
      },
    });
    document.body.setAttribute("hx-ext", "morph");
  }

  let looking = false;
  async function look() {
    const live = document.getElementById("live");
    if (!live || looking || document.hidden || !window.htmx) return;
    // Whoever marks text is about to copy it.
    const marked = document.getSelection();
    if (marked && !marked.isCollapsed && live.contains(marked.anchorNode)) return;
    looking = true;
    try {
      await htmx.ajax("GET", live.dataset.live, { source: live, target: live, select: "#live", swap: "morph" });
    } catch {
      // The next look tells.
    } finally {
      looking = false;
    }
  }

  // A stream that ends is asked for anew by the browser; one that is refused is tried again, ever more rarely.
  function watch(pause) {
    const stream = new EventSource("/live");
    let wait = pause;
    stream.addEventListener("look", () => {
      wait = 2000;
      root.classList.remove("stale");
      look();
      redraw();
    });
    stream.onerror = () => {
      root.classList.add("stale");
      if (stream.readyState === EventSource.CLOSED) {
        setTimeout(() => watch(Math.min(wait * 2, 60000)), wait);
      }
    };
    addEventListener("pagehide", () => stream.close());
  }

  const charts = [];
  let drawn = 0;
  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }
  function makeCharts() {
    for (const place of document.querySelectorAll("[data-series]")) {
      const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "11px system-ui" };
      const options = {
        width: place.clientWidth || 280, height: 130,
        legend: { show: false }, cursor: { show: false },
        scales: { y: { range: (_, __, most) => [0, Math.max(1, Math.ceil(most * 1.15))] } },
        axes: [
          { ...axis, space: 60, values: (_, times) => times.map((at) => new Date(at * 1000).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })) },
          { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] },
        ],
        series: [{}, { stroke: colour("--accent"), fill: colour("--accent-faint"), width: 2, points: { show: (plot) => plot.data[0].length < 12, size: 5, fill: colour("--accent") } }],
      };
      charts.push({ name: place.dataset.series, plot: new uPlot(options, [[], []], place), place });
    }
    if (charts.length) {
      addEventListener("resize", () => charts.forEach(({ plot, place }) => plot.setSize({ width: place.clientWidth, height: 130 })));
    }
  }
  async function redraw() {
    const place = document.querySelector("[data-samples]");
    if (!place || !charts.length || document.hidden || Date.now() - drawn < 5000) return;
    drawn = Date.now();
    const answer = await fetch(place.dataset.samples, { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    const samples = await answer.json();
    for (const { name, plot } of charts) plot.setData([samples.times, samples[name] || []]);
  }

  localise(document);
  for (const select of document.querySelectorAll("select[data-submits]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
  // A file is read here and goes with the form as text, so that its size is known before it is sent.
  for (const chosen of document.querySelectorAll("input[type=file][data-into]")) {
    chosen.addEventListener("change", async () => {
      const [file] = chosen.files;
      const into = document.getElementById(chosen.dataset.into);
      const fits = !file || file.size <= into.maxLength;
      chosen.setCustomValidity(fits ? "" : chosen.dataset.tooLarge);
      if (!fits) chosen.reportValidity();
      else if (file) into.value = await file.text();
    });
  }
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
  // One menu at a time, closed by Escape or by a click elsewhere.
  const menus = [...document.querySelectorAll("details.menu")];
  document.addEventListener("click", (event) => menus.forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menus.filter((menu) => menu.open).forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
  });
  if (window.uPlot) makeCharts();
  redraw();
  if (document.getElementById("live")) watch(2000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
})();
