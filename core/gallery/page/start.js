// The page put together: bar, tray, keys, and what happens when a filter, the order or the view changes.

performance.mark("concord-start");
const THEMES = ["system", "light", "dark"];
let order = [];

const marks = new Marks(() => {
  wall.showMarks();
  showTray();
});
const viewer = new Viewer({ order: () => order, neighbour, marks, closed: (cell) => cell && wall.goToCell(cell) });
const wall = new Wall({
  open: (cell) => viewer.open(cell),
  mark: (cell) => marks.toggle(cell),
  isMarked: (cell) => marks.letter(cell),
});
const filters = new Filters(() => update("concord-filter"));

/** Work out what is shown and show it; `name`: of the measure that says how long it took. */
function update(name) {
  const start = performance.now();
  const { found, counts } = filtered();
  if (state.view === "grid") turnToFound(found);
  order = state.view === "grid" ? inGrid(found) : sorted(found);
  filters.show(counts);
  showBar();
  wall.lay(state.view === "grid" ? found : order);
  at("nothing").hidden = found.length > 0;
  at("count").textContent = found.length === cells.length ? `${cells.length} pictures` : `${found.length} of ${cells.length}`;
  if (name) performance.measure(name, { start, end: performance.now() });
}

/** The cells of the grid's page, line by line. */
function inGrid(found) {
  const along = (cell) => (state.along < 0 ? 0 : cell.position[state.along]);
  const onPage = found.filter(isOnPage);
  return onPage.sort((a, b) => along(a) - along(b) || a.position[state.across] - b.position[state.across] || a.index - b.index);
}

/** Where the filters leave nothing of the page of the grid, turn to one of which they leave something. */
function turnToFound(found) {
  if (!found.length || found.some(isOnPage)) return;
  const cell = found.find((one) => one.position !== null);
  if (cell) state.pages = [...cell.position];
}

/** The cell to which an arrow key leads from another; in the list, the one before or after. */
function neighbour(cell, key) {
  const right = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0;
  if (state.view === "list" || !isOnPage(cell)) return order[order.indexOf(cell) + (right || { ArrowUp: -1, ArrowDown: 1 }[key])];
  if (right) return order[order.indexOf(cell) + right];
  const column = order.filter((one) => one.position[state.across] === cell.position[state.across]);
  return column[column.indexOf(cell) + (key === "ArrowUp" ? -1 : 1)];
}

// The bar above the pictures

function choice(label, options, value, changed) {
  const select = el("select", { "aria-label": label });
  for (const [key, words] of options) select.append(el("option", { value: key, selected: key === value, dir: "auto" }, words));
  select.addEventListener("change", () => changed(Number(select.value)));
  return el("label", { className: "choice-of" }, el("span", {}, label), select);
}

function showBar() {
  const held = document.activeElement?.closest?.("#bar") ? document.activeElement.getAttribute("aria-label") : null;
  at("bar").replaceChildren(...(state.view === "grid" ? gridBar() : listBar()));
  at("bar").hidden = !at("bar").childElementCount;
  if (held) [...at("bar").querySelectorAll("[aria-label]")].find((one) => one.getAttribute("aria-label") === held)?.focus();
  for (const view of ["grid", "list"]) at(`view-${view}`).setAttribute("aria-pressed", String(state.view === view));
}

function gridBar() {
  const { axes } = GALLERY;
  const names = axes.map((axis, i) => [i, axis.label]);
  const made = [];
  if (axes.length > 1) {
    const put = (side, other) => (axis) => {
      if (state[other] === axis) state[other] = state[side];
      state[side] = axis;
      update();
    };
    made.push(choice("Across", names, state.across, put("across", "along")));
    const swap = () => {
      [state.across, state.along] = [state.along, state.across];
      update();
    };
    made.push(iconButton("Swap across and down", "swap", swap));
    made.push(choice("Down", names, state.along, put("along", "across")));
  }
  for (const [i, axis] of axes.entries()) {
    if (i === state.across || i === state.along) continue;
    const turn = (by) => () => turnPage(i, by);
    const pages = axis.values.map((value, page) => [page, shown(value)]);
    const select = choice(axis.label, pages, state.pages[i], (page) => {
      state.pages[i] = page;
      update();
    });
    const before = iconButton(`${axis.label}: the one before ([)`, "left", turn(-1), { disabled: state.pages[i] === 0 });
    const next = iconButton(`${axis.label}: the next one (])`, "right", turn(1), { disabled: state.pages[i] === axis.values.length - 1 });
    made.push(el("span", { className: "pager" }, select, before, next));
  }
  return made;
}

function turnPage(axis, by) {
  const to = state.pages[axis] + by;
  if (to < 0 || to >= GALLERY.axes[axis].values.length) return;
  state.pages[axis] = to;
  update();
}

function listBar() {
  const options = [[-1, "as they were made"], ...fields.filter((field) => field.kind !== "same").map((field) => [field.index, field.label])];
  const sort = choice("Sort by", options, state.sort, (field) => {
    state.sort = field;
    update("concord-sort");
  });
  const turn = () => {
    state.down = !state.down;
    update("concord-sort");
  };
  return [sort, iconButton(state.down ? "Falling" : "Rising", state.down ? "down" : "up", turn)];
}

// The pictures chosen for a comparison

function showTray() {
  const tray = at("tray");
  tray.hidden = !marks.cells.length;
  const chosen = marks.cells.map((cell, i) => {
    const img = el("img", { src: cell.small, alt: "" });
    const words = { type: "button", className: "chosen", title: labelOf(cell), "aria-label": `Take out ${"AB"[i]}, ${labelOf(cell)}` };
    return el("button", { ...words, onclick: () => marks.toggle(cell) }, el("b", {}, "AB"[i]), img);
  });
  const two = marks.cells.length === 2;
  const go = button(two ? "Compare" : "Choose another", "compare", () => viewer.compare(), { disabled: !two, className: "main" });
  tray.replaceChildren(...chosen, go, iconButton("Choose none", "close", () => marks.clear()));
}

// What holds for the whole page

function setView(view) {
  if (view === "grid" && !GALLERY.axes.length) return;
  state.view = view;
  at("scroller").scrollTo(0, 0);
  update("concord-view");
}

function setSize(size) {
  const most = Number(at("size").max);
  state.size = Math.min(most, Math.max(Number(at("size").min), size));
  at("size").value = state.size;
  kept.set("size", state.size);
  update();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.querySelector("meta[name=color-scheme]").content = theme === "system" ? "light dark" : theme;
  kept.set("theme", theme);
}

function nextTheme() {
  const now = document.documentElement.dataset.theme;
  const isDark = now === "dark" || (now === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  setTheme(isDark ? "light" : "dark");
}

function showFilters(open) {
  at("filters").classList.toggle("open", open);
  at("filters-open").setAttribute("aria-expanded", String(open));
  (open ? at("search") : at("filters-open")).focus();
}

const KEYS = {
  "/": () => {
    if (getComputedStyle(at("filters-open")).display !== "none") showFilters(true);
    at("search").focus();
    at("search").select();
  },
  g: () => setView("grid"),
  l: () => setView("list"),
  t: nextTheme,
  "?": () => at("help").showModal(),
  "+": () => setSize(state.size * 1.25),
  "=": () => setSize(state.size * 1.25),
  "-": () => setSize(state.size / 1.25),
  0: () => setSize(160),
  c: () => withFocused((cell) => marks.toggle(cell)),
  i: () => withFocused((cell) => cell.infotext && copyInfotext(cell)),
  "[": () => turnPage(GALLERY.axes.findIndex((_, i) => i !== state.across && i !== state.along), -1),
  "]": () => turnPage(GALLERY.axes.findIndex((_, i) => i !== state.across && i !== state.along), 1),
};

function withFocused(act) {
  const stack = wall.stackAt(...wall.focus);
  if (stack && at("wall").contains(document.activeElement)) act(stack[0]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && at("filters").classList.contains("open")) showFilters(false);
  if (event.target.closest("input:not([type=checkbox], [type=range]), textarea, select")) {
    if (event.key === "Escape") wall.goTo(...wall.focus);
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

at("view-grid").addEventListener("click", () => setView("grid"));
at("view-list").addEventListener("click", () => setView("list"));
at("view-grid").disabled = !GALLERY.axes.length;
at("size").addEventListener("input", () => setSize(at("size").valueAsNumber));
at("theme").addEventListener("click", nextTheme);
at("help-open").addEventListener("click", () => at("help").showModal());
at("filters-open").addEventListener("click", () => showFilters(!at("filters").classList.contains("open")));
at("filters-close").addEventListener("click", () => showFilters(false));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

setTheme(THEMES.includes(kept.get("theme")) ? kept.get("theme") : "system");
if (globalThis.CONCORD_GALLERY === undefined) say("cells.js is missing; it must lie beside this page");
state.size = Number(kept.get("size")) || (matchMedia("(max-width: 760px)").matches ? 112 : 160);
at("size").value = state.size;
update();
new ResizeObserver(() => wall.lay(state.view === "grid" ? filtered().found : order)).observe(at("scroller"));
performance.measure("concord-open", "concord-start");

/** Make the texts that a search looks through before it is asked for. */
(function prepare(from) {
  const idle = globalThis.requestIdleCallback ?? ((act) => setTimeout(act, 50));
  for (const cell of cells.slice(from, from + 200)) wordsOf(cell);
  if (from < cells.length) idle(() => prepare(from + 200));
})(0);
