(() => {
  const root = document.documentElement;

  // ---------------------------------------------------------------- theme
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const redraws = [];
  const remembered = () => { try { return localStorage.getItem("testbed-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    root.dataset.theme = theme;
    button.querySelector("span").textContent = theme[0].toUpperCase() + theme.slice(1);
    button.setAttribute("aria-label", `Theme: ${theme}`);
    try { localStorage.setItem("testbed-theme", theme); } catch { /* a file page may have no storage */ }
    redraws.forEach((redraw) => redraw());
  };
  button.hidden = false;
  button.addEventListener("click", () => setTheme(themes[(themes.indexOf(root.dataset.theme) + 1) % 3]));
  dark.addEventListener("change", () => redraws.forEach((redraw) => redraw()));
  setTheme(themes.includes(remembered()) ? remembered() : "auto");

  // --------------------------------------------------------------- sorting
  const valueOf = (row, column, text) => {
    const cell = row.cells[column];
    if (text) return cell.textContent.trim();
    return cell.dataset.value === "" || cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  for (const table of $$("table.sortable")) {
    const heads = $$("thead th", table);
    heads.forEach((head, column) => {
      const kind = head.dataset.sort;
      const inner = document.createElement("button");
      inner.type = "button";
      inner.append(...head.childNodes);
      head.append(inner);
      inner.addEventListener("click", () => {
        const first = kind === "lower" || kind === "text" ? "ascending" : "descending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
          rows.map((row) => [row, valueOf(row, column, kind === "text")]).sort(([, a], [, b]) => {
            if (a === null || b === null) return (a === null) - (b === null);
            return sign * (kind === "text" ? a.localeCompare(b) : a - b);
          }).forEach(([row]) => body.append(row));
        }
      });
    });
  }

  // ------------------------------------------------------------------ tabs
  $$(".tabs").forEach((tabs, place) => {
    const panels = $$(":scope > .panel", tabs);
    if (panels.length < 2) return;
    const list = document.createElement("div");
    list.className = "tablist";
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", tabs.dataset.label);
    const buttons = panels.map((panel, i) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.setAttribute("role", "tab");
      tab.textContent = panel.dataset.title;
      tab.id = `tab-${place}-${i}`;
      panel.id = `panel-${place}-${i}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      tab.setAttribute("aria-controls", panel.id);
      list.append(tab);
      return tab;
    });
    const open = (chosen, focus) => {
      panels.forEach((panel, i) => { panel.hidden = i !== chosen; });
      buttons.forEach((tab, i) => { tab.setAttribute("aria-selected", i === chosen); tab.tabIndex = i === chosen ? 0 : -1; });
      if (!focus) return;
      buttons[chosen].focus();
      buttons[chosen].scrollIntoView({ inline: "center", block: "nearest" }); // on a phone tabs are one line that scrolls
    };
    buttons.forEach((tab, i) => tab.addEventListener("click", () => open(i)));
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      open((buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length, true);
    });
    tabs.classList.add("live");
    tabs.prepend(list);
    open(0);
  });

  // --------------------------------------------------------------- figures
  const source = document.getElementById("figures-data");
  const packed = document.getElementById("plotly-gzip");
  if (!source || !packed) {
    root.dataset.figures = "none";
    return;
  }

  const paint = (value, style, isColour = false) => {
    if (typeof value === "string") return isColour && value[0] === "@" ? style.getPropertyValue(`--${value.slice(1)}`).trim() : value;
    if (Array.isArray(value)) return value.map((each) => paint(each, style, isColour));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, paint(each, style, key.endsWith("color"))]));
  };
  const axis = (own) => ({
    gridcolor: "@rule", linecolor: "@rule", zerolinecolor: "@rule", tickcolor: "@rule", automargin: true, fixedrange: true, ...own,
    title: { font: { size: 12, color: "@muted" }, standoff: 10, ...(own?.title ?? {}) },
  });
  const layoutOf = (own) => ({
    ...own,
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 12, color: "@ink" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 20, t: 8, b: 8 }, dragmode: false, hovermode: "closest",
    hoverlabel: { bgcolor: "@paper", bordercolor: "@rule", font: { color: "@ink", size: 12 }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 }, itemclick: "toggle" },
    xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
  });
  const start = async () => {
    const specs = JSON.parse(source.textContent);
    const script = document.createElement("script");
    script.textContent = await inflate(packed.textContent);
    document.head.append(script);
    packed.remove();
    if (!window.Plotly) throw new Error("plotly did not load");
    const draw = async (place) => {
      const style = getComputedStyle(root);
      const spec = specs[place.id];
      await Plotly.react(place, paint(spec.data, style), paint(layoutOf(spec.layout), style), { displayModeBar: false, responsive: true, doubleClick: false });
      place.dataset.drawn = "yes";
    };
    const shown = (place) => !place.closest("details:not([open])");
    const drawAll = async (places) => {
      for (const place of places) {
        await draw(place).catch((error) => {
          place.textContent = "This figure could not be drawn here; its numbers are in the tables.";
          console.warn(`${place.id}: ${error}`);
        });
        await new Promise((done) => setTimeout(done));
      }
    };
    const places = $$(".plot");
    $$("details.gallery").forEach((gallery) => gallery.addEventListener("toggle", () => {
      if (gallery.open) drawAll($$(".plot:not([data-drawn])", gallery));
    }));
    redraws.push(() => drawAll(places.filter((place) => place.dataset.drawn && shown(place))));
    await drawAll(places.filter(shown));
    document.getElementById("figures-note").hidden = true;
    root.dataset.figures = "drawn";
  };
  start().catch((error) => {
    root.dataset.figures = "failed";
    console.warn(`The figures could not be drawn: ${error}`);
  });
})();
