// The page's own script: first screen, comparison, charts, table and address follow one state.

const data = JSON.parse(document.getElementById("data").textContent);
const bundle = document.getElementById("datatables").textContent.trim();
const { default: DataTable } = await import("data:text/javascript;base64," + bundle);
const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const FONT = "system-ui, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif";

// What the address keeps.
const state = { baseline: data.baseline, panel: "0", table: "" };

function readAddress() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (name in state) state[name] = value;
  if (!data.baselines.includes(state.baseline)) state.baseline = data.baseline;
  if (!data.panels[Number(state.panel)]) state.panel = "0";
}

function writeAddress() {
  const fragment = new URLSearchParams();
  if (state.baseline !== data.baseline) fragment.set("baseline", state.baseline);
  if (state.panel !== "0") fragment.set("panel", state.panel);
  if (state.table) fragment.set("table", state.table);
  const text = fragment.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}

function element(name, text, attributes = {}, children = []) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const against = ({ ratios }) => ratios[state.baseline] ?? Object.values(ratios)[0] ?? {};

/** What a mode is in one comparison, against the chosen baseline. */
function fieldOf(panel, cell) {
  const own = panel.cells.find((other) => other.cell === cell);
  const found = against(panel)[cell];
  if (!own || (!own.out && !found)) return data.not_run;
  return own.out ?? { ...found, text: found.brief, why: found.interval, title: found.text };
}

/** The same of a line that stands for several comparisons: from the slowest to the fastest. */
function lineField({ panels }, cell) {
  const fields = panels.map((number) => fieldOf(data.panels[number], cell));
  const known = fields.filter(({ ratio }) => ratio).sort((one, other) => one.ratio - other.ratio);
  if (fields.length === 1 || !known.length) return fields[0];
  const [low, high] = [known[0], known.at(-1)];
  const text = low.text === high.text ? low.text : data.words["{low} to {high}"].replace("{low}", low.text).replace("{high}", high.text);
  const others = Object.entries(Object.groupBy(fields.filter((field) => !field.ratio), (field) => field.text));
  const why = others.map(([other, all]) => `${all.length}: ${other}`).join(", ");
  return low.state === high.state ? { ...known[known.length >> 1], text, why } : { state: "cannot tell", text, why };
}

function fieldElement(line, { cell }) {
  const { state: kind, text, why, ratio, title } = lineField(line, cell);
  const strength = ratio ? Math.min(75, 10 + 18 * Math.abs(Math.log2(ratio))) : 0; // percent of the colour
  const words = kind === "other work" ? [element("s", data.words["equal work"])] : [text];
  if (why) words.push(element("small", why));
  const link = { href: "#", "data-panel": line.panels[0], "data-chart": "speed", title: title ?? text };
  const inside = element(kind === "not run" ? "span" : "a", "", kind === "not run" ? {} : link, words);
  const looks = { class: kind.replace(" ", "-"), style: `--strength: ${strength}%`, "data-mode": cell };
  return element("td", "", looks, [inside]);
}

function drawMatrix(table, lines) {
  const rows = lines.map((line) => {
    const proved = line.proved ? [element("small", `✓ ${data.words["equal work"]}, ${line.proved}`, { class: "good" })] : [];
    const name = element("th", line.title, { scope: "row" }, proved);
    return element("tr", "", {}, [name, ...data.modes.map((mode) => fieldElement(line, mode))]);
  });
  table.tBodies[0].replaceChildren(...rows);
}

function drawOverview() {
  drawMatrix(byId("matrix"), data.lines);
  const each = data.panels.map(({ title }, number) => ({ title, panels: [number] }));
  byId("all").ontoggle = () => byId("all").open && drawMatrix(byId("matrix-all"), each);
}

let views = [];

const shownCells = () => rowsShown().filter((row) => row.panel === Number(state.panel)).map((row) => row.cell);

function writeSentences(panel) {
  const { best, cells, left_out: leftOut } = panel;
  const backend = cells.find(({ cell }) => cell === state.baseline)?.backend;
  const notes = Object.entries(against(panel)).filter(([, { note }]) => note).map(([cell, { note }]) => `${cell}: ${note}`);
  const lines = [...(best[backend] ?? Object.values(best)[0] ?? []), ...notes].map((text) => element("li", text));
  byId("sentences").replaceChildren(...lines, ...leftOut.map((text) => element("li", text, { class: "bad" })));
}

/** The rows of a table that came as columns, whose cells came as numbers. */
function asRows({ cell, ...columns }, cells) {
  const names = Object.keys(columns);
  return cell.map((number, row) => ({ ...cells[number], ...Object.fromEntries(names.map((name) => [name, columns[name][row]])) }));
}

function datasetsOf(panel) {
  const tables = Object.entries(panel.tables).map(([name, table]) => [name, asRows(table, panel.cells)]);
  const ratios = panel.cells.filter(({ cell }) => against(panel)[cell]).map((cell) => ({ ...cell, ...against(panel)[cell.cell] }));
  const rounds = ratios.flatMap((row) => row.rounds.map((ratio) => ({ ...row, ratio })));
  return { ...Object.fromEntries(tables), ratios: ratios.map((row) => ({ ...row, verdict: row.text })), rounds };
}

async function drawCharts(mine = state.panel) {
  document.documentElement.classList.toggle("dark", dark.matches); // the table's own style
  for (const view of views) view.finalize();
  [views, state.panel] = [[], mine];
  const panel = data.panels[Number(mine)];
  const [datasets, cells] = [datasetsOf(panel), shownCells()];
  byId("panel").value = mine;
  writeSentences(panel);
  byId("charts").replaceChildren();
  const drawn = panel.charts.map(async (name) => {
    const { title, caption, row_per_cell: rowPerCell, spec } = data.charts[name];
    const drawing = element("div", "", { class: "drawing", tabindex: "0", role: "region", "aria-label": title });
    const said = panel.said[name] ? [element("p", panel.said[name], { class: "said" })] : [];
    const parts = [element("h3", title), ...said, drawing, element("figcaption", caption)];
    byId("charts").append(element("figure", "", { id: `chart-${name}` }, parts));
    const size = rowPerCell ? { height: data.row_height * panel.cells.length } : {};
    const config = { background: "transparent", font: FONT, axis: { gridColor: "#80808040" } };
    const options = { renderer: "svg", actions: false, theme: dark.matches ? "dark" : undefined, config };
    const layers = spec.layer && { layer: spec.layer.filter(({ data: own }) => !own || datasets[own.name]?.length) };
    const { view } = await vegaEmbed(drawing, { ...spec, ...layers, ...size, params: [{ name: "shown", value: cells }], datasets }, options);
    return view;
  });
  const made = await Promise.all(drawn);
  if (mine === state.panel) views = made;
  byId("charts").setAttribute("data-drawn", mine);
  writeAddress();
}

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function value(row, key) {
  const found = key === "ratio" ? against(data.panels[row.panel])[row.cell] : null;
  return key === "ratio" ? [found?.ratio ?? null, found?.text ?? "-"] : row[key];
}

/** What a link has to say of the table: its order, its filters, and which columns are shown. */
function viewOf({ order, search, columns, columnControl }) {
  const filters = Object.entries(columnControl ?? {}).filter(([, { searchInput }]) => searchInput?.value);
  const shown = columns.map(({ visible }) => Number(visible)).join("");
  return JSON.stringify([shown, order, search.search, Object.fromEntries(filters)]);
}

/** The same as the table takes it; null if it is no view of this table. */
function viewFrom(text) {
  try {
    const [shown, order, search, columnControl] = JSON.parse(text);
    const columns = data.columns.map((_, place) => ({ visible: shown[place] === "1" }));
    return { time: 1, start: 0, length: 50, order, search: { search }, columns, columnControl };
  } catch {
    return null;
  }
}

function makeTable() {
  const paged = data.rows.length > 50;
  let untouched = null;
  return new DataTable("#cells", {
    data: data.rows,
    columns: data.columns.map(({ key, title, number, first: visible }) => ({
      ...{ title, visible, data: null },
      ...(number ? { type: "num", className: "number" } : { type: "string" }),
      render: (_, type, row) => {
        const found = value(row, key);
        const [sorted, shown] = Array.isArray(found) ? found : [found, found];
        return type === "display" ? escaped(shown) : (sorted ?? "");
      },
    })),
    columnControl: [{ target: 0, content: ["order"] }, { target: 1, content: ["search"] }],
    ordering: { indicators: false },
    ...{ order: [], paging: paged, pageLength: 50, deferRender: true, autoWidth: false },
    ...{ stateSave: true, stateDuration: 0 }, // which the address keeps
    stateLoadCallback: () => viewFrom(state.table),
    stateSaveCallback: (_, saved) => {
      untouched ??= state.table || viewOf(saved);
      state.table = viewOf(saved) === untouched && !state.table ? "" : viewOf(saved);
      writeAddress();
    },
    layout: {
      topStart: {
        buttons: [
          { extend: "colvis", text: data.words["columns"] },
          { text: data.words["copy as Markdown"], action: copyMarkdown },
          // Numbers as they are, and no line for the filters below the headings.
          { extend: "csvHtml5", text: data.words["save as CSV"], filename: "lockstep", title: null, exportOptions: { orthogonal: "sort", customizeData: (all) => all.headerStructure.splice(1) } },
        ],
      },
      ...{ topEnd: "search", bottomStart: "info", bottomEnd: paged ? "paging" : null },
    },
    language: { ...data.language, search: `${data.words["search in all columns"]}:` },
  });
}

const rowsShown = () => table.rows({ search: "applied", order: "applied" }).data().toArray();

async function copyMarkdown() {
  const { header, body } = table.buttons.exportData({ columns: ":visible" });
  const line = (values) => `| ${values.map((text) => String(text).replace(/\|/g, "\\|")).join(" | ")} |`;
  const text = [line(header), line(header.map(() => "---")), ...body.map(line)].join("\n") + "\n";
  await navigator.clipboard.writeText(text);
  byId("copied").textContent = data.words["copied {rows} rows"].replace("{rows}", body.length);
}

readAddress();
byId("baseline").value = state.baseline;
drawOverview();
const table = makeTable();
table.columns().every(function () {
  const label = `${data.words.filter}: ${data.columns[this.index()].title}`;
  for (const control of this.header(1).querySelectorAll("input, select")) control.setAttribute("aria-label", label);
});
table.on("draw", () => {
  views.forEach((view) => view.signal("shown", shownCells()).runAsync());
  byId("filtered").hidden = shownCells().length > 0;
});
byId("baseline").addEventListener("change", (event) => {
  state.baseline = event.target.value;
  drawOverview();
  table.rows().invalidate().draw(false);
  drawCharts();
});
byId("panel").addEventListener("change", (event) => drawCharts(event.target.value));
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-panel]");
  if (!link) return;
  event.preventDefault();
  await drawCharts(link.dataset.panel);
  (byId(`chart-${link.dataset.chart}`) ?? byId("comparison")).scrollIntoView();
});
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.closest("section").querySelector("pre").textContent);
  byId("copied").textContent = data.words["copied"];
});
dark.addEventListener("change", () => drawCharts());
await drawCharts();
document.body.setAttribute("data-ready", "yes");
