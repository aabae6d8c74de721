(() => {
  const list = document.getElementById("trial-list");
  const source = document.getElementById("trials-gzip");
  if (!list || !source) return;

  const ROWS = 50;
  const $ = (id) => document.getElementById(id);
  const dialog = $("trial");
  const tools = { text: $("trial-search"), generator: $("trial-generator"), estimator: $("trial-estimator"), state: $("trial-state") };
  const [thead, tbody] = [$("trial-table").tHead, $("trial-table").tBodies[0]];
  const [back, where, forth] = $("trial-pager").children;

  // ------------------------------------------------------------ addresses: #trial=ID, and #trials&generator=…&estimator=… for a choice
  const addressOf = (id) => `#trial=${encodeURIComponent(id).replaceAll("%2F", "/")}`;
  const choiceOf = (wanted) => `#trials&${new URLSearchParams(wanted)}`;
  const readable = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

  // ------------------------------------------------------------ numbers, as the page's tables write them
  const grouped = (value) => value.toLocaleString("en-US");
  const number = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    const decimals = size < 10 ? 3 : size < 100 ? 2 : size < 1000 ? 1 : 0;
    const text = value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    return Number(text.replaceAll(",", "")) === 0 ? text.replace("-", "") : text.replace("-", "−");
  };
  const duration = (value) => {
    if (value === null) return "–";
    if (value < 0.1) return `${Math.round(1000 * value)} ms`;
    if (value < 60) return `${value.toFixed(1)} s`;
    const minutes = Math.round(value / 60);
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  };
  const breakable = (name) => name.split(/(?<=[._:])/).flatMap((piece, i) => (i ? [make("wbr"), piece] : [piece]));
  const trialsOf = (n) => `${grouped(n)} trial${n === 1 ? "" : "s"}`;

  // ------------------------------------------------------------ the data, unpacked once and only when they are asked for
  let data = null;
  let unpacking = null;
  const unpack = () => {
    unpacking ??= inflate(source.textContent).then((text) => {
      data = JSON.parse(text);
      source.remove();
      const of = data.trials;
      data.size = of.state.length;
      data.names = of.generator.map((generator, i) => [data.generators[generator].label, of.instance[i], data.estimators[of.estimator[i]].label, of.fit_seed[i]]);
      data.ids = data.names.map((name) => name.join("/"));
      data.place = new Map(data.ids.map((id, i) => [id, i]));
      data.said = new Map(data.skipped.trial.map((i, k) => [`${i}/${data.skipped.evaluator[k]}`, data.skipped.reasons[data.skipped.reason[k]]]));
      begin();
    });
    return unpacking;
  };

  // ------------------------------------------------------------ the table: columns, order, choice, pages
  let columns = [];
  let order = { column: null, ascending: true };
  let shown = [];
  let page = 0;
  const letters = new Intl.Collator("en", { numeric: true });
  const cross = (words) => make("span", { class: "badge not-shown" }, make("span", { "aria-hidden": "true" }, "✕"), ` ${words}`);
  const badge = (state) => (state === "failed" ? cross(state) : make("span", { class: "badge undecided" }, state));
  const stateOf = (i) => data.states[data.trials.state[i]];

  const begin = () => {
    const of = data.trials;
    columns = [
      { head: "estimator", text: true, value: (i) => data.names[i][2] },
      { head: "generator", text: true, value: (i) => data.names[i][0] },
      { head: "instance", value: (i) => of.instance[i], show: String },
      { head: "fit seed", value: (i) => of.fit_seed[i], show: String },
      { head: "state", text: true, value: stateOf },
      { head: "fit time", value: (i) => of.seconds[i], show: duration },
      ...data.scores.filter((each) => each.part === "").map((each) => {
        const { label, direction } = data.evaluators[each.evaluator];
        return { head: label, direction, value: (i) => each.value?.[i] ?? null, show: number };
      }),
    ];
    const heads = columns.map((column, at) => {
      const button = make("button", { type: "button" }, make("span", { class: "name" }, column.head));
      if (column.direction === "higher" || column.direction === "lower") {
        button.append(" ", make("span", { class: "arrow", "aria-hidden": "true" }, column.direction === "higher" ? "↑" : "↓"), make("span", { class: "hidden" }, ` (${column.direction} is better)`));
      }
      button.addEventListener("click", () => sort(at));
      return make("th", { scope: "col" }, button);
    });
    thead.append(make("tr", {}, ...heads));
    const options = { generator: data.generators.map((each) => each.label), estimator: data.estimators.map((each) => each.label), state: data.states.filter((_, k) => of.state.includes(k)) };
    for (const [name, values] of Object.entries(options)) {
      tools[name].append(...values.map((value) => make("option", { value }, value)));
      tools[name].addEventListener("change", choose);
    }
    tools.text.addEventListener("input", choose);
    choose();
  };

  const sort = (at) => {
    const rising = columns[at].direction !== "higher";
    order = { column: at, ascending: order.column === at ? !order.ascending : rising };
    [...thead.rows[0].cells].forEach((head) => head.removeAttribute("aria-sort"));
    thead.rows[0].cells[at].setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
    choose();
  };

  const choose = () => {
    const words = tools.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (i) => {
      const [generator, , estimator] = data.names[i];
      if ((tools.generator.value && tools.generator.value !== generator) || (tools.estimator.value && tools.estimator.value !== estimator)) return false;
      if (tools.state.value && tools.state.value !== stateOf(i)) return false;
      const id = words.length ? data.ids[i].toLowerCase() : "";
      return words.every((word) => id.includes(word));
    };
    shown = data.ids.map((_, i) => i).filter(fits);
    if (order.column !== null) {
      const { text, value } = columns[order.column];
      const sign = order.ascending ? 1 : -1;
      const values = new Map(shown.map((i) => [i, value(i)]));
      shown.sort((i, j) => {
        const [a, b] = [values.get(i), values.get(j)];
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (text ? letters.compare(a, b) : a - b);
      });
    }
    turn(0);
  };

  const row = (i) => {
    const cells = columns.slice(1).map(({ head, value, show, text }) => {
      const found = value(i);
      if (head === "state" && found !== "done") return make("td", {}, badge(found));
      return make("td", text || show === String ? {} : { class: "num" }, text ? found : show(found));
    });
    const link = make("a", { href: addressOf(data.ids[i]), "aria-label": `Open trial ${data.ids[i]}` }, ...breakable(data.names[i][2]));
    return make("tr", { "data-trial": i }, make("th", { scope: "row" }, link), ...cells);
  };

  const turn = (to) => {
    const last = Math.max(0, Math.ceil(shown.length / ROWS) - 1);
    page = Math.min(Math.max(to, 0), last);
    const [from, until] = [page * ROWS, Math.min((page + 1) * ROWS, shown.length)];
    tbody.replaceChildren(...shown.slice(from, until).map(row));
    const all = shown.length < data.size ? ` of ${grouped(data.size)}` : "";
    $("trial-count").textContent = shown.length ? `${trialsOf(shown.length)}${all}, ${grouped(from + 1)} to ${grouped(until)} shown` : "No trial is like that.";
    where.textContent = `page ${grouped(page + 1)} of ${grouped(last + 1)}`;
    back.setAttribute("aria-disabled", page === 0);
    forth.setAttribute("aria-disabled", page === last);
    $("trial-pager").hidden = last === 0;
  };

  // ------------------------------------------------------------ one trial
  const svg = (tag, attributes) => {
    const element = document.createElementNS(document.querySelector("svg").namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const strip = (value, chance, ceiling, floors) => {
    const share = (level) => (level - chance) / (ceiling - chance);
    const at = (level) => `${(100 * (Math.min(Math.max(share(level), -data.edge), 1 + data.edge) + data.edge)) / (1 + 2 * data.edge)}%`;
    const line = (name, from, to, top, bottom) => svg("line", { class: name, x1: at(from), x2: at(to), y1: top, y2: bottom });
    const words = `${Math.round(100 * share(value))} % of the way from chance to ceiling`;
    const drawing = svg("svg", { class: "scale", role: "img", "aria-label": words, height: 12 });
    drawing.append(line("track", chance, ceiling, 6, 6), line("fill", chance, value, 6, 6), line("end", chance, chance, 2, 10), line("end", ceiling, ceiling, 2, 10));
    drawing.append(...floors.map((level) => line("floor", level, level, 0, 12)), svg("circle", { class: "mean", cx: at(value), cy: 6, r: 3.5 }));
    return drawing;
  };

  const scoreRow = (i, evaluator, score) => {
    const { label, together } = data.evaluators[evaluator];
    const part = score?.part ?? "";
    const name = part ? [make("span", { class: "part" }, ...breakable(part))] : [...breakable(label), ...(together ? [make("span", { class: "aside" }, " all fit seeds together")] : [])];
    const head = make("th", { scope: "row", ...(part ? { class: "of-part" } : {}) }, ...name);
    const value = score?.value?.[i] ?? null;
    if (value === null) {
      const reason = data.said.get(`${i}/${evaluator}`);
      return make("tr", {}, head, make("td", { colspan: 5, class: "why" }, reason ? `does not apply: ${reason}` : "no score"));
    }
    const [chance, ceiling] = [score.chance?.[i] ?? null, score.ceiling?.[i] ?? null];
    const floors = Object.entries(score.floors).map(([floor, levels]) => [floor, levels[i]]).filter(([, level]) => level !== null);
    return make(
      "tr", {}, head,
      make("td", { class: "num", title: value }, make("strong", {}, number(value))),
      make("td", {}, ...(score.scale?.[i] ? [strip(value, chance, ceiling, floors.map(([, level]) => level))] : [])),
      make("td", { class: "num" }, number(chance)),
      make("td", { class: "num" }, number(ceiling)),
      make("td", { class: "floors" }, ...floors.map(([floor, level]) => make("span", {}, `${floor} ${number(level)}`))),
    );
  };
  const scoresOf = (i) => {
    const rows = data.evaluators.flatMap((_, evaluator) => {
      const own = data.scores.filter((each) => each.evaluator === evaluator && (each.part === "" || (each.value?.[i] ?? null) !== null));
      return own.length ? own.map((each) => scoreRow(i, evaluator, each)) : [scoreRow(i, evaluator)];
    });
    const heads = ["score", "value", "from chance to ceiling", "chance", "ceiling", "floors"].map((head) => make("th", { scope: "col" }, head));
    const table = make("table", { class: "scores one" }, make("caption", { class: "hidden" }, "Scores of this trial"), make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
    return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Scores of this trial" }, table);
  };
  const settingsOf = (rows) => {
    if (!rows.length) return make("p", { class: "empty" }, "None.");
    return make("p", { class: "settings" }, ...rows.map(([name, value, given, marked]) => {
      const one = make("span", { class: given ? "given" : "default" }, make("code", {}, `${name} = ${value}`));
      if (marked) one.append(make("abbr", { title: "read off the truth" }, "†"), make("span", { class: "hidden" }, " read off the truth"));
      return one;
    }));
  };
  const quoted = (text) => (/^[\w./=:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  // The page lies in the folder of its run: opened from disk it knows the folder's name.
  const folder = location.protocol === "file:" ? quoted(readable(location.pathname).replace(/\/[^/]*$/, "")) : "DIR";
  const command = (text) => {
    const code = make("code", { class: "command" }, text);
    const said = make("span", { class: "aside", role: "status" });
    const button = make("button", { type: "button", class: "small", "aria-label": `Copy: ${text}` }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        said.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        said.textContent = "selected, for you to copy";
      }
    });
    return make("p", { class: "copy" }, code, button, said);
  };
  const pairs = (...rows) => make("dl", { class: "about" }, ...rows.map(([name, ...value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value))));

  const panel = (i) => {
    const of = data.trials;
    const [generator, instance, estimator, seed] = data.names[i];
    const at = shown.indexOf(i);
    const step = (words, by) => {
      const button = make("button", { type: "button", class: "small", "aria-disabled": shown[at + by] === undefined }, words);
      button.addEventListener("click", () => {
        if (shown[at + by] === undefined) return;
        history.replaceState(null, "", addressOf(data.ids[shown[at + by]]));
        follow().then(() => $$(".sheet-bar button", dialog).find((each) => each.textContent === words).focus());
      });
      return button;
    };
    const close = make("button", { type: "button", class: "small" }, "Close");
    close.addEventListener("click", () => dialog.close());
    const state = stateOf(i);
    const failures = (data.failed[i] ?? []).map(([error, attempts]) => {
      const [stage, sentence, trace] = data.errors[error];
      const said = make("p", { class: "error" }, cross(stage), ` ${sentence} `, make("span", { class: "aside" }, `${attempts} attempt${attempts === 1 ? "" : "s"}`));
      return make("div", {}, said, ...(trace ? [make("pre", { tabindex: 0 }, trace)] : []));
    });
    return [
      make("div", { class: "sheet-bar" }, step("← Previous", -1), step("Next →", 1), make("span", { class: "aside" }, `${grouped(at + 1)} of ${grouped(shown.length)}`), close),
      make("p", { class: "over" }, "Trial"),
      make("h2", { id: "trial-name", tabindex: -1 }, ...breakable(estimator)),
      make("p", { class: "lead" }, `on ${generator}, instance ${instance}, fit seed ${seed} `, ...(state === "done" ? [] : [badge(state)])),
      ...(failures.length ? [make("h3", {}, "What failed"), ...failures] : []),
      make("h3", {}, "Scores"), scoresOf(i),
      make("h3", {}, "Settings of the estimator"), make("p", { class: "path" }, ...breakable(data.estimators[of.estimator[i]].path)), settingsOf(data.settings[of.settings[i]]),
      make("h3", {}, "Settings of the generator"), make("p", { class: "path" }, ...breakable(data.generators[of.generator[i]].path)), settingsOf(data.generators[of.generator[i]].settings),
      make("h3", {}, "Seeds and stages"),
      pairs(
        ["instance", `${instance}, drawn from seed ${data.instance_seeds[instance]}`],
        ["fit seed", `${seed}, fitted with seed ${data.fit_seeds[`${instance}/${seed}`]}`],
        ["fit time", duration(of.seconds[i])],
        ["stages", ...[["sample", data.samples[`${of.generator[i]}/${instance}`]], ["fit", of.fit[i]], ["encode", of.encode[i]]].map(([stage, key]) => make("span", { class: "stage" }, `${stage} `, make("code", {}, key)))],
      ),
      make("h3", {}, "Commands"),
      make("p", { class: "hint" }, "The first prints every record of this trial, the second computes it again from nothing and compares."),
      command(`testbed show ${folder} --trial ${quoted(data.ids[i])}`),
      command(`testbed replay ${folder} --trial ${quoted(data.ids[i])}`),
    ];
  };

  // ------------------------------------------------------------ opening and closing
  let current = null;
  const open = (i) => {
    current = i;
    if (!shown.includes(i)) {
      tools.text.value = tools.generator.value = tools.estimator.value = tools.state.value = "";
      choose();
    }
    dialog.replaceChildren(...panel(i));
    if (!dialog.open) dialog.showModal();
    document.documentElement.classList.add("held"); // the page behind does not scroll
    dialog.scrollTop = 0;
    $("trial-name").focus();
  };
  dialog.addEventListener("close", () => {
    document.documentElement.classList.remove("held");
    if (location.hash.startsWith("#trial=")) history.replaceState(null, "", "#trials");
    turn(Math.floor(shown.indexOf(current) / ROWS));
    tbody.querySelector(`[data-trial="${current}"] a`).focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && event.clientX < dialog.getBoundingClientRect().left) dialog.close();
  });

  const follow = async () => {
    const hash = location.hash;
    if (!hash.startsWith("#trial=") && !hash.startsWith("#trials&")) {
      if (dialog.open) dialog.close();
      return;
    }
    list.open = true;
    await unpack();
    if (hash.startsWith("#trial=")) {
      const id = readable(hash.slice("#trial=".length));
      if (data.place.has(id)) return open(data.place.get(id));
    } else {
      const wanted = new URLSearchParams(hash.slice("#trials&".length));
      for (const [name, tool] of Object.entries(tools)) {
        tool.value = wanted.get(name) ?? "";
        if (tool.selectedIndex === -1) tool.selectedIndex = 0; // no such label here: all of them
      }
      choose();
    }
    $("h-trials").focus();
    $("h-trials").scrollIntoView();
    if (hash.startsWith("#trial=")) $("trial-count").textContent = `There is no trial ${readable(hash.slice("#trial=".length))} here.`;
  };
  const guarded = (act) => () => act().catch((error) => {
    $("trials-note").hidden = false;
    list.hidden = true;
    console.warn(`The trials could not be unpacked: ${error}`);
  });

  $("trial-tools").addEventListener("submit", (event) => event.preventDefault());
  back.addEventListener("click", () => turn(page - 1));
  forth.addEventListener("click", () => turn(page + 1));
  tbody.addEventListener("click", (event) => {
    const own = event.target.closest("tr");
    if (own && !event.target.closest("a") && getSelection().isCollapsed) own.querySelector("a").click();
  });
  list.addEventListener("toggle", guarded(async () => { if (list.open) await unpack(); }));
  addEventListener("hashchange", guarded(follow));

  // ------------------------------------------------------------ ways here: estimators in the tables of scores, and failures
  for (const line of $$("#scores tr[data-estimator]")) {
    const name = line.querySelector(".estimator");
    const link = make("a", { href: choiceOf({ generator: line.closest("table").dataset.generator, estimator: line.dataset.estimator }), title: "its trials" });
    link.append(...name.childNodes);
    name.append(link);
  }
  for (const place of $$(".to-trial")) place.append(make("a", { href: addressOf(place.dataset.trial) }, "Open this trial"));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#trial"]');
    if (link && link.getAttribute("href") === location.hash) guarded(follow)(); // the address stays the same, so nothing else would happen
  });

  $("trials-note").hidden = true;
  list.hidden = false;
  guarded(follow)();
})();
