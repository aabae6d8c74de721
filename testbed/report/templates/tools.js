(() => {
  // --------------------------------------------------------------- filter and columns of the tables of scores
  const bar = document.getElementById("tools");
  const tables = $$("#scores table.scores");
  const named = (table) => $$("thead th", table).map((head) => head.querySelector(".name")?.firstChild?.textContent.trim() ?? "");
  if (bar && tables.length) {
    const filter = make("input", { type: "search", placeholder: "Filter estimators", "aria-label": "Filter estimators", autocomplete: "off" });
    const told = make("span", { class: "aside", role: "status" });
    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      const rows = tables.flatMap((table) => [...table.tBodies].flatMap((body) => [...body.rows])).filter((row) => !row.classList.contains("group"));
      rows.forEach((row) => { row.hidden = wanted !== "" && !row.cells[0].textContent.toLowerCase().includes(wanted); });
      told.textContent = wanted === "" ? "" : `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    });
    const evaluators = [...new Set(tables.flatMap(named))].filter(Boolean);
    const picker = make("details", { class: "picker" }, make("summary", {}, "Columns"));
    const boxes = make("div", { class: "boxes", role: "group", "aria-label": "Columns that are shown" });
    for (const name of evaluators) {
      const box = make("input", { type: "checkbox" });
      box.checked = true;
      box.addEventListener("change", () => {
        for (const table of tables) {
          named(table).forEach((own, column) => {
            if (own === name) $$("tr", table).forEach((row) => { if (row.cells.length > column) row.cells[column].hidden = !box.checked; });
          });
        }
      });
      boxes.append(make("label", {}, box, ` ${name}`));
    }
    picker.append(boxes);
    bar.append(filter, picker, told);
    bar.hidden = false;
  }

  // --------------------------------------------------------------- downloads
  const save = (name, type, text) => {
    const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const slug = (text) => text.trim().replace(/[^A-Za-z0-9.=]+/g, "-").replace(/^-|-$/g, "") || "figure";
  const quoted = (value) => (/[",\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const table = (spec) => {
    const lines = [["trace", "x", "y", "x_error_minus", "x_error_plus", "text"]];
    for (const trace of spec.data) {
      const n = Math.max(trace.x?.length ?? 0, trace.y?.length ?? 0);
      const error = trace.error_x ?? {};
      for (let i = 0; i < n; i += 1) {
        const text = Array.isArray(trace.text) ? trace.text[i] : "";
        lines.push([trace.name, trace.x?.[i], trace.y?.[i], error.arrayminus?.[i] ?? error.array?.[i], error.array?.[i], text]);
      }
    }
    return lines.map((line) => line.map(quoted).join(",")).join("\n");
  };
  const buttons = (label, ...pairs) => make("p", { class: "downloads", "aria-label": `Download ${label}`, role: "group" }, ...pairs.map(([text, act]) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", act);
    return button;
  }));
  const source = document.getElementById("figures-data");
  const specs = source ? JSON.parse(source.textContent) : {};
  for (const place of $$(".plot")) {
    const name = slug(place.getAttribute("aria-label"));
    place.after(buttons(
      place.getAttribute("aria-label"),
      ["SVG", () => window.Plotly && Plotly.downloadImage(place, { format: "svg", filename: name, width: place.clientWidth, height: place.clientHeight })],
      ["Data", () => save(`${name}.csv`, "text/csv", table(specs[place.id]))],
    ));
  }
  const drawn = ["stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "fill"];
  for (const svg of $$("svg.graph")) {
    const name = slug(svg.getAttribute("aria-label"));
    svg.after(buttons(svg.getAttribute("aria-label"), ["SVG", () => {
      const copy = svg.cloneNode(true);
      const originals = $$("path, circle", svg);
      $$("path, circle", copy).forEach((element, i) => {
        const style = getComputedStyle(originals[i]);
        drawn.forEach((property) => element.setAttribute(property, style.getPropertyValue(property)));
      });
      save(`${name}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(copy));
    }]));
  }
})();
