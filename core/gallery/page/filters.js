// The filters at the side: what is chosen of each field, and how many pictures each choice would leave.

const SHOWN_AT_FIRST = 8; // choices of a field before "more"

class Filters {
  /** `changed`: called when a filter is. */
  constructor(changed) {
    this.changed = changed;
    this.boxes = []; // [field, value, input, count]
    const facets = at("facets");
    if (anyFailed) facets.append(this.status());
    const inOrder = [...fields].sort((a, b) => Number(b.isAxis) - Number(a.isAxis));
    for (const field of inOrder) {
      if (field.kind === "choice") facets.append(this.choices(field));
      if (field.kind === "range") facets.append(this.range(field));
    }
    this.shared();
    at("search").addEventListener("input", () => {
      state.search = at("search").value;
      this.changed();
    });
    for (const id of ["clear", "nothing-clear"]) at(id).addEventListener("click", () => this.clear());
  }

  facet(field, ...children) {
    const open = field.isAxis || field.values.length <= SHOWN_AT_FIRST;
    const title = el("summary", { dir: "auto" }, field.label);
    return el("details", { className: "facet", open, "data-field": field.label }, title, ...children);
  }

  choices(field) {
    const rows = field.values.map((value) => this.choice(field, value));
    const list = el("div", { className: "choices", role: "group", "aria-label": field.label }, ...rows);
    if (rows.length <= SHOWN_AT_FIRST + 2) return this.facet(field, list);
    list.classList.add("short");
    const more = el("button", { type: "button", className: "link" }, `${rows.length - SHOWN_AT_FIRST} more`);
    more.addEventListener("click", () => {
      list.classList.remove("short");
      more.remove();
    });
    return this.facet(field, list, more);
  }

  choice(field, value) {
    const input = el("input", { type: "checkbox" });
    const count = el("span", { className: "of" });
    input.addEventListener("change", () => {
      const values = state.picked.get(field.index) ?? new Set();
      if (input.checked) values.add(value);
      else values.delete(value);
      if (values.size) state.picked.set(field.index, values);
      else state.picked.delete(field.index);
      this.changed();
    });
    this.boxes.push({ field, value, input, count });
    const words = el("bdi", { title: shown(value) }, shown(value));
    return el("label", { className: "choice" }, input, words, count);
  }

  range(field) {
    const least = field.values[0];
    const most = field.values.filter((value) => value !== null).at(-1);
    const given = (side, value) =>
      el("input", { type: "number", step: "any", placeholder: shown(value), "aria-label": `${field.label}, ${side}` });
    const [from, to] = [given("from", least), given("to", most)];
    const read = (input, otherwise) => (input.value === "" ? otherwise : input.valueAsNumber);
    const take = () => {
      if (from.value === "" && to.value === "") state.ranges.delete(field.index);
      else state.ranges.set(field.index, [read(from, -Infinity), read(to, Infinity)]);
      this.changed();
    };
    for (const input of [from, to]) input.addEventListener("input", take);
    this.inputs = [...(this.inputs ?? []), from, to];
    return this.facet(field, el("div", { className: "range" }, from, el("span", {}, "to"), to));
  }

  status() {
    const made = [
      [true, "Failed or missing", cells.filter((cell) => cell.failed !== null).length],
      [false, "Drawn", cells.filter((cell) => cell.failed === null).length],
    ].map(([value, words, count]) => {
      const input = el("input", { type: "checkbox", "data-failed": value });
      input.addEventListener("change", () => {
        for (const other of this.drawn) if (other !== input) other.checked = false;
        state.failed = input.checked ? value : null;
        this.changed();
      });
      this.drawn = [...(this.drawn ?? []), input];
      return el("label", { className: "choice" }, input, words, el("span", { className: "of" }, String(count)));
    });
    const title = el("summary", {}, "Pictures");
    return el("details", { className: "facet", open: true }, title, el("div", { className: "choices" }, ...made));
  }

  /** What has one value in all pictures. */
  shared() {
    const same = fields.filter((field) => field.kind === "same" && field.values[0] !== null && field.values.length);
    at("shared").hidden = !same.length;
    for (const field of same) {
      const value = el("dd", { dir: "auto" }, shown(field.values[0]));
      at("shared").lastElementChild.append(el("dt", { dir: "auto" }, field.label), value);
    }
  }

  clear() {
    state.picked.clear();
    state.ranges.clear();
    state.search = at("search").value = "";
    state.failed = null;
    for (const input of this.inputs ?? []) input.value = "";
    for (const input of this.drawn ?? []) input.checked = false;
    this.changed();
  }

  /** Show what is chosen, and how many pictures each choice has. */
  show(counts) {
    for (const { field, value, input, count } of this.boxes) {
      const n = counts.get(field.index).get(value) ?? 0;
      input.checked = state.picked.get(field.index)?.has(value) ?? false;
      if (count.textContent !== String(n)) count.textContent = String(n);
      input.parentElement.classList.toggle("none", !n && !input.checked);
    }
    const on = state.picked.size + state.ranges.size + Number(state.failed !== null) + Number(state.search !== "");
    at("clear").hidden = !on;
    at("filters-on").hidden = !on;
    at("filters-on").textContent = String(on);
  }
}
