// What there is: cells, their fields, which of them fit the filters, and in which order they stand.

const GALLERY = globalThis.CONCORD_GALLERY ?? { title: "", axes: [], fields: [], workflows: [], cells: [] };
const MOST_CHOICES = 60; // values of a field that are offered one by one
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

const urlOf = (path) => path.split("/").map(encodeURIComponent).join("/");

const cells = GALLERY.cells.map(([file, small, width, height, position, failed, infotext, workflow, values], index) => ({
  index,
  url: file === null ? null : urlOf(file),
  small: file === null ? null : urlOf(small ? `thumbnails/${file}.webp` : file),
  name: file === null ? "" : file.split("/").pop(),
  width,
  height,
  position,
  failed,
  infotext,
  workflow: workflow < 0 ? null : GALLERY.workflows[workflow],
  values,
  words: null,
}));

/** A value as it is shown. */
function shown(value) {
  if (value === null || value === undefined) return "—";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

function compareValues(a, b) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(shown(a), shown(b));
}

/** Every field with its different values: the kind says how it is filtered. */
const fields = GALLERY.fields.map((label, index) => {
  const counts = new Map();
  for (const cell of cells) counts.set(cell.values[index], (counts.get(cell.values[index]) ?? 0) + 1);
  const values = [...counts.keys()].sort(compareValues);
  const axis = GALLERY.axes.find((one) => one.label === label);
  if (axis) values.sort((a, b) => rank(axis, a) - rank(axis, b));
  const numbers = values.every((value) => typeof value === "number");
  let kind = "text";
  if (values.length < 2) kind = "same";
  else if (numbers && values.length > 12 && !axis) kind = "range";
  else if (values.length <= MOST_CHOICES) kind = "choice";
  else if (numbers) kind = "range";
  return { label, index, values, kind, isAxis: Boolean(axis) };
});

function rank(axis, value) {
  const at = axis.values.findIndex((one) => shown(one) === shown(value));
  return at < 0 ? axis.values.length : at;
}

const anyFailed = cells.some((cell) => cell.failed !== null);

const state = {
  view: GALLERY.axes.length && cells.some((cell) => cell.position) ? "grid" : "list",
  search: "",
  picked: new Map(), // field → the values that are let through
  ranges: new Map(), // field → [least, most]
  failed: null, // null: all, true or false
  sort: -1, // a field; -1: as they were written
  down: false,
  size: 160,
  across: GALLERY.axes.length ? 0 : -1,
  along: GALLERY.axes.length > 1 ? 1 : -1,
  pages: GALLERY.axes.map(() => 0),
};

/** What a search stands for: texts that must be there, and texts that must not. */
function termsOf(search) {
  const terms = [...search.toLowerCase().matchAll(/(-?)(?:"([^"]*)"?|([^\s"]+))/g)];
  const found = terms.map(([, minus, quoted, word]) => ({ without: minus === "-", text: quoted ?? word }));
  return found.filter((one) => one.text);
}

function wordsOf(cell) {
  cell.words ??= [cell.name, cell.infotext, cell.failed ?? "", ...cell.values.map(shown)].join("\n").toLowerCase();
  return cell.words;
}

/**
 * The cells that fit every filter, and per field how many fit all the other filters with each of its values.
 */
function filtered() {
  const terms = termsOf(state.search);
  const tests = [];
  for (const [field, values] of state.picked) tests.push([field, (value) => values.has(value)]);
  for (const [field, [least, most]] of state.ranges) {
    tests.push([field, (value) => value !== null && value >= least && value <= most]);
  }
  const counted = fields.filter((field) => field.kind === "choice");
  const counts = new Map(counted.map((field) => [field.index, new Map()]));
  const found = [];
  for (const cell of cells) {
    if (state.failed !== null && (cell.failed !== null) !== state.failed) continue;
    if (terms.length) {
      const words = wordsOf(cell);
      if (terms.some((one) => words.includes(one.text) === one.without)) continue;
    }
    let misses = 0;
    let missed = -1;
    for (const [field, fits] of tests) {
      if (fits(cell.values[field])) continue;
      misses += 1;
      missed = field;
      if (misses > 1) break;
    }
    if (misses === 0) found.push(cell);
    if (misses > 1) continue;
    for (const field of counted) {
      if (misses && field.index !== missed) continue;
      const of = counts.get(field.index);
      const value = cell.values[field.index];
      of.set(value, (of.get(value) ?? 0) + 1);
    }
  }
  return { found, counts };
}

function sorted(found) {
  if (state.sort < 0) return state.down ? [...found].reverse() : found;
  const sign = state.down ? -1 : 1;
  const field = fields[state.sort];
  const order = new Map(field.values.map((value, i) => [value, i]));
  const key = (cell) => (cell.values[state.sort] === null ? Infinity : sign * order.get(cell.values[state.sort]));
  return [...found].sort((a, b) => key(a) - key(b) || a.index - b.index);
}

/** What tells a cell from the others, in few words. */
function captionOf(cell) {
  const telling = fields.filter((field) => field.isAxis || field.index === state.sort);
  const own = telling.length ? telling : fields.filter((field) => field.kind === "choice").slice(0, 3);
  return own.map((field) => [field.label, shown(cell.values[field.index])]);
}

/** Labels with values in few words: a number needs its label. */
function wordsOfPairs(pairs) {
  return pairs.map(([label, value]) => (/^[-\d.]+$/.test(value) ? `${label} ${value}` : value)).join(" · ");
}

function labelOf(cell) {
  const words = captionOf(cell).map(([label, value]) => `${label} ${value}`);
  return `${words.join(", ") || cell.name || `Picture ${cell.index + 1}`}${cell.failed === null ? "" : `: ${cell.failed}`}`;
}
