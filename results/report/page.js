// The page's own script: table, sentences, charts and address follow one state.

const data = JSON.parse(document.getElementById("data").textContent);
const bundle = document.getElementById("datatables").textContent.trim();
const { default: DataTable } = await import("data:text/javascript;base64," + bundle);
const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

// --- the state, which is kept in the address -----------------------------------------------------------------

const state = { baseline: data.baseline, panel: "0", search: "", order: "", filters: {} };

function readAddress() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name.startsWith("filter.")) state.filters[name.slice(7)] = value;
    else if (name in state && name !== "filters") state[name] = value;
  }
  if (!data.baselines.includes(state.baseline)) state.baseline = data.baseline;
  if (!data.panels[Number(state.panel)]) state.panel = "0";
}

function writeAddress() {
  const fragment = new URLSearchParams();
  if (state.baseline !== data.baseline) fragment.set("baseline", state.baseline);
  if (state.panel !== "0") fragment.set("panel", state.panel);
  for (const name of ["search", "order"]) if (state[name]) fragment.set(name, state[name]);
  for (const [key, text] of Object.entries(state.filters)) if (text) fragment.set("filter." + key, text);
  const text = fragment.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}

// --- ratios to the chosen baseline ---------------------------------------------------------------------------

function against(panel) {
  const ratios = data.panels[panel].ratios;
  return ratios[state.baseline] ?? ratios[Object.keys(ratios)[0]] ?? {};
}

function bestAgainst(panel) {
  const { best, cells } = data.panels[panel];
  const backend = cells.find(({ cell }) => cell === state.baseline)?.backend;
  return best[backend] ?? Object.values(best)[0] ?? [];
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function writeSentences() {
  const blocks = data.panels.flatMap((panel, number) => {
    const list = element("ul", "", { class: "sentences" });
    for (const found of [...bestAgainst(number), ...Object.values(against(number))]) {
      if (found.sentence) list.append(element("li", found.sentence, { class: found.sure ? "sure" : "unsure" }));
    }
    for (const sentence of panel.left_out) list.append(element("li", sentence, { class: "bad" }));
    return [element("h3", panel.label), list];
  });
  byId("sentences").replaceChildren(...blocks);
}

// --- the table -----------------------------------------------------------------------------------------------

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function value(row, key) {
  if (key !== "ratio") return row[key];
  const found = against(row.panel)[row.cell];
  return found ? [found.ratio, found.text] : [null, "-"];
}

const shownText = (row, key) => {
  const found = value(row, key);
  return Array.isArray(found) ? found[1] : found;
};

function passes(row, key, filter) {
  const found = value(row, key);
  const comparison = /^\s*(<=|>=|<|>|=)\s*(-?[\d.]+(?:e-?\d+)?)\s*(%?)\s*$/i.exec(filter);
  if (Array.isArray(found) && comparison) {
    if (found[0] === null) return false;
    const [, sign, digits, percent] = comparison;
    const limit = Number(digits) / (percent ? 100 : 1);
    return { "<": found[0] < limit, ">": found[0] > limit, "<=": found[0] <= limit, ">=": found[0] >= limit, "=": found[0] === limit }[sign];
  }
  return String(shownText(row, key)).toLowerCase().includes(filter.trim().toLowerCase());
}

const passesAll = (row) => Object.entries(state.filters).every(([key, filter]) => !filter || passes(row, key, filter));

function makeTable() {
  const keys = data.columns.map((column) => column.key);
  const [sorted, direction] = state.order.split(" ");
  const table = new DataTable("#cells", {
    data: data.rows,
    columns: data.columns.map(({ key, title, number }) => ({
      title,
      data: null,
      type: number ? "num" : "string",
      className: number ? "number" : "",
      render: (_, type, row) => {
        const found = value(row, key);
        if (type === "display") return escaped(shownText(row, key));
        return Array.isArray(found) && type !== "filter" ? (found[0] ?? "") : shownText(row, key);
      },
    })),
    order: keys.includes(sorted) ? [[keys.indexOf(sorted), direction === "desc" ? "desc" : "asc"]] : [],
    search: { search: state.search },
    paging: data.rows.length > 50,
    pageLength: 50,
    deferRender: true,
    autoWidth: false,
    orderCellsTop: true,
    titleRow: 0,
    layout: { topStart: null, topEnd: "search", bottomStart: "info", bottomEnd: data.rows.length > 50 ? "paging" : null },
    language: { search: "Search in all columns:" },
  });
  table.search.fixed("columns", (_, row) => passesAll(row));
  const filters = element("tr", "", { class: "filters" });
  for (const { key, title } of data.columns) {
    const input = element("input", "", { type: "search", "aria-label": `Filter ${title}`, "data-key": key });
    input.value = state.filters[key] ?? "";
    input.addEventListener("input", () => {
      state.filters[key] = input.value;
      table.draw();
    });
    const cell = element("td", "");
    cell.append(input);
    filters.append(cell);
  }
  table.table().header().append(filters);
  return table;
}

function followTable() {
  const [first] = table.order();
  state.order = first && first[1] ? `${data.columns[first[0]].key} ${first[1]}` : "";
  state.search = table.search();
  writeAddress();
  filterCharts();
}

const rowsShown = () => table.rows({ search: "applied", order: "applied" }).data().toArray();

function asMarkdown() {
  const line = (values) => `| ${values.map((text) => String(text).replace(/\|/g, "\\|")).join(" | ")} |`;
  const rows = rowsShown().map((row) => line(data.columns.map(({ key }) => shownText(row, key))));
  const rule = line(data.columns.map(({ number }) => (number ? "---:" : "---")));
  return [line(data.columns.map(({ title }) => title)), rule, ...rows].join("\n") + "\n";
}

function asCsv() {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const line = (values) => values.map((text) => quoted(String(text ?? ""))).join(",");
  const plain = (found) => (Array.isArray(found) ? found[0] : found);
  const rows = rowsShown().map((row) => line(data.columns.map(({ key }) => plain(value(row, key)))));
  return [line(data.columns.map(({ key }) => key)), ...rows].join("\n") + "\n";
}

async function copy(text, what) {
  await navigator.clipboard.writeText(text);
  byId("copied").textContent = `copied ${rowsShown().length} rows as ${what}`;
}

// --- charts --------------------------------------------------------------------------------------------------

let views = [];

const shownCells = () =>
  rowsShown().filter((row) => row.panel === Number(state.panel)).map((row) => row.cell);

/** The rows of a table that came as columns, whose cells came as numbers. */
function asRows({ cell, ...columns }, cells) {
  const names = Object.keys(columns);
  return cell.map((number, row) => ({ ...cells[number], ...Object.fromEntries(names.map((name) => [name, columns[name][row]])) }));
}

function filterCharts() {
  const cells = shownCells();
  for (const view of views) view.signal("shown", cells).runAsync();
}

async function drawCharts() {
  for (const view of views) view.finalize();
  views = [];
  byId("charts").replaceChildren();
  const cells = shownCells();
  const mine = state.panel;
  const panel = data.panels[Number(mine)];
  const datasets = Object.fromEntries(Object.entries(panel.tables).map(([name, table]) => [name, asRows(table, panel.cells)]));
  const drawn = panel.charts.map(async (name) => {
    const { title, caption, row_per_cell: rowPerCell, spec } = data.charts[name];
    const figure = element("figure", "", { id: `chart-${name}` });
    const drawing = element("div", "", { class: "drawing", tabindex: "0", role: "region", "aria-label": title });
    figure.append(element("h3", title), drawing, element("figcaption", caption));
    byId("charts").append(figure);
    const size = rowPerCell ? { height: data.row_height * panel.cells.length } : {};
    const params = [{ name: "shown", value: cells }];
    const config = { background: "transparent", axis: { gridColor: "#80808040" } };
    const options = { renderer: "svg", actions: false, theme: dark.matches ? "dark" : undefined, config };
    const { view } = await vegaEmbed(drawing, { ...spec, ...size, params, datasets }, options);
    return view;
  });
  const made = await Promise.all(drawn);
  if (mine === state.panel) views = made;
  byId("charts").setAttribute("data-drawn", mine);
}

// --- controls ------------------------------------------------------------------------------------------------

readAddress();
for (const name of data.baselines) byId("baseline").append(element("option", name, { value: name }));
data.panels.forEach((panel, number) => byId("panel").append(element("option", panel.label, { value: number })));
byId("baseline").value = state.baseline;
byId("panel").value = state.panel;
writeSentences();
const table = makeTable();
table.on("draw", followTable);
table.draw();
byId("baseline").addEventListener("change", (event) => {
  state.baseline = event.target.value;
  writeSentences();
  table.rows().invalidate().draw(false);
});
byId("panel").addEventListener("change", async (event) => {
  state.panel = event.target.value;
  writeAddress();
  await drawCharts();
});
byId("copy-markdown").addEventListener("click", () => copy(asMarkdown(), "Markdown"));
byId("copy-csv").addEventListener("click", () => copy(asCsv(), "CSV"));
byId("clear").addEventListener("click", () => {
  state.filters = {};
  for (const input of document.querySelectorAll("tr.filters input")) input.value = "";
  table.search("").draw();
});
const followScheme = () => document.documentElement.classList.toggle("dark", dark.matches); // the table's own style
followScheme();
dark.addEventListener("change", () => {
  followScheme();
  drawCharts();
});
await drawCharts();
document.body.setAttribute("data-ready", "yes");
