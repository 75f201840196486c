// A picture large, with its settings; two pictures over each other behind a slider, as their difference or side by side.

const MODES = [
  ["slider", "Slider"],
  ["difference", "Difference"],
  ["side", "Side by side"],
];
const COMFYUI = "http://127.0.0.1:8188";

class Viewer {
  /** `order`: gives the cells in order; `neighbour(cell, key)`: the one an arrow key leads to; `marks`: see `Marks`. */
  constructor({ order, neighbour, marks, closed }) {
    Object.assign(this, { order, neighbour, marks, closed, mode: "single", gain: 2 });
    this.dialog = at("viewer");
    this.build();
    this.stage = new Stage(this.box, (percent) => (this.percent.textContent = `${percent}%`));
    this.dialog.addEventListener("keydown", (event) => this.pressed(event));
    this.dialog.addEventListener("keyup", (event) => event.key === " " && this.flip(false));
    this.dialog.addEventListener("close", () => this.closed(this.cell));
  }

  build() {
    this.images = [0, 1].map((i) => el("img", { alt: "", draggable: false, className: `picture picture-${"ab"[i]}` }));
    this.names = [0, 1].map((i) => el("span", { className: `name name-${"ab"[i]}` }, el("b", {}, "AB"[i]), el("bdi")));
    this.handle = el("div", {
      className: "handle",
      role: "slider",
      tabIndex: 0,
      "aria-label": "How much of picture A is seen",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    });
    this.handle.append(el("span", {}, icon("swap")));
    this.handle.addEventListener("pointerdown", (event) => this.grab(event));
    this.handle.addEventListener("keydown", (event) => this.slide(event));
    const layers = this.images.map((image) => el("div", { className: "layer" }, image));
    this.problem = el("div", { className: "missing", hidden: true });
    this.box = el("div", { className: "stage" }, el("div", { className: "layers" }, ...layers), this.handle, ...this.names, this.problem);
    this.percent = el("span", { className: "percent", role: "status" });
    this.place = el("span", { className: "place" });
    this.modes = MODES.map(([mode, words]) =>
      el("button", { type: "button", onclick: () => this.compare(mode), "data-mode": mode }, words),
    );
    this.segmented = el("div", { className: "segmented", role: "group", "aria-label": "How they are compared" }, ...this.modes);
    const gain = el("input", { type: "range", min: 1, max: 16, step: 1, value: this.gain, "aria-label": "Brightness of the difference" });
    gain.addEventListener("input", () => this.setGain(gain.valueAsNumber));
    this.gainValue = el("output");
    this.gainLabel = el("label", { className: "gain" }, "Brightness", gain, this.gainValue);
    this.setGain(this.gain);
    this.steps = [
      iconButton("The one before", "left", () => this.step("ArrowLeft")),
      iconButton("The next one", "right", () => this.step("ArrowRight")),
    ];
    const zoom = [
      iconButton("Smaller (-)", "minus", () => this.stage.zoom(1 / 1.5)),
      this.percent,
      iconButton("Larger (+)", "plus", () => this.stage.zoom(1.5)),
      button("Fit", null, () => this.stage.fit(), { title: "As it fits (0)" }),
    ];
    const bar = el("div", { className: "viewer-bar" }, ...this.steps, this.place, this.segmented, this.gainLabel);
    bar.append(el("span", { className: "gap" }), el("span", { className: "zoomers" }, ...zoom));
    bar.append(iconButton("Settings of the picture", "info", () => this.dialog.classList.toggle("alone"), { className: "panel-toggle" }));
    bar.append(iconButton("Close (Esc)", "close", () => this.dialog.close()));
    this.panel = el("div", { className: "panel", tabIndex: -1 });
    this.dialog.append(bar, el("div", { className: "viewer-body" }, this.box, this.panel));
  }

  setGain(gain) {
    this.gain = gain;
    this.box.style.setProperty("--gain", String(gain));
    this.gainValue.textContent = `×${gain}`;
  }

  /** Open one picture. */
  open(cell) {
    this.cell = cell;
    this.show("single", [cell]);
    const order = this.order();
    const i = order.indexOf(cell);
    this.place.textContent = i < 0 ? "" : `${i + 1} of ${order.length}`;
    this.panel.replaceChildren(...panelOf(cell, this));
    this.dialog.setAttribute("aria-label", labelOf(cell));
  }

  /** Compare the two pictures that are chosen. */
  compare(mode = "slider") {
    const pair = this.marks.cells;
    if (pair.length < 2) return;
    const same = this.pair && this.mode !== "single" && pair.every((cell, i) => cell === this.pair[i]);
    this.pair = [...pair];
    this.show(mode, pair, !same);
    const differing = fields.filter((field) => pair[0].values[field.index] !== pair[1].values[field.index]);
    for (const [i, name] of this.names.entries()) {
      const own = differing.filter((field) => field.kind !== "text" || shown(pair[i].values[field.index]).length < 40).slice(0, 3);
      name.lastElementChild.textContent = wordsOfPairs(own.map((field) => [field.label, shown(pair[i].values[field.index])])) || pair[i].name;
    }
    this.panel.replaceChildren(...differencesOf(pair, differing, this));
    this.dialog.setAttribute("aria-label", "Comparison of two pictures");
  }

  show(mode, pair, anew = true) {
    this.mode = mode;
    const two = mode !== "single";
    this.box.className = `stage ${mode}`;
    for (const part of [this.segmented, ...this.names]) part.hidden = !two;
    this.handle.hidden = mode !== "slider";
    this.gainLabel.hidden = mode !== "difference";
    for (const part of [...this.steps, this.place]) part.hidden = two;
    for (const one of this.modes) one.setAttribute("aria-pressed", String(one.dataset.mode === mode));
    const [first] = pair;
    this.problem.hidden = first.failed === null;
    this.problem.replaceChildren(...(first.failed === null ? [] : [problemOf(first)]));
    for (const [i, image] of this.images.entries()) {
      const cell = pair[i];
      image.parentElement.hidden = !cell || cell.failed !== null;
      if (!cell || cell.failed !== null) continue;
      if (image.getAttribute("src") !== cell.url) image.src = cell.url;
      image.alt = labelOf(cell);
    }
    if (!this.dialog.open) {
      this.dialog.classList.toggle("alone", matchMedia("(max-width: 760px)").matches && two);
      this.dialog.showModal();
      this.panel.focus({ preventScroll: true });
    }
    if (anew) {
      this.split(50);
      this.stage.show([first.width || 1, first.height || 1]);
    } else {
      this.stage.fit();
    }
  }

  split(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    this.box.style.setProperty("--split", `${this.at}%`);
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.at)));
  }

  grab(event) {
    event.preventDefault();
    this.handle.focus();
    this.handle.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const box = this.box.getBoundingClientRect();
      this.split(((moved.clientX - box.left) / box.width) * 100);
    };
    this.handle.addEventListener("pointermove", move);
    const end = () => this.handle.removeEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.handle.addEventListener(name, end, { once: true });
  }

  slide(event) {
    const far = event.shiftKey ? 10 : 2;
    const to = { ArrowLeft: this.at - far, ArrowRight: this.at + far, Home: 0, End: 100 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.split(to);
  }

  /** Show the other of two pictures, or both as before. */
  flip(on) {
    this.box.classList.toggle("flipped", on && this.mode !== "single");
  }

  step(key) {
    const next = this.neighbour(this.cell, key);
    if (next) this.open(next);
  }

  pressed(event) {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      "+": () => this.stage.zoom(1.5),
      "=": () => this.stage.zoom(1.5),
      "-": () => this.stage.zoom(1 / 1.5),
      0: () => this.stage.fit(),
      i: () => this.mode === "single" && copyInfotext(this.cell),
      c: () => this.mode === "single" && this.choose(this.cell),
      " ": () => this.mode !== "single" && !event.repeat && this.flip(true),
    };
    if (this.mode === "single") {
      for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]) act[key] = () => this.step(key);
    }
    if (!act[event.key] || (event.key === " " && event.target.closest("button, a, summary"))) return;
    event.preventDefault();
    event.stopPropagation();
    act[event.key]();
  }

  /** Choose a picture for the comparison, which begins when there are two. */
  choose(cell) {
    this.marks.toggle(cell);
    if (this.marks.cells.length === 2 && this.marks.cells.includes(cell)) this.compare();
    else this.open(cell);
  }
}

/** The pictures that are chosen for a comparison, two at most: A and B. */
class Marks {
  constructor(changed) {
    this.changed = changed;
    this.cells = [];
  }

  toggle(cell) {
    if (cell.failed !== null) return;
    if (this.cells.includes(cell)) this.cells = this.cells.filter((one) => one !== cell);
    else this.cells = [...this.cells, cell].slice(-2);
    this.changed();
  }

  clear() {
    this.cells = [];
    this.changed();
  }

  letter(cell) {
    const i = this.cells.indexOf(cell);
    return i < 0 ? "" : "AB"[i];
  }
}

function copyInfotext(cell) {
  return copy(cell.infotext, "Infotext copied");
}

/** The address of ComfyUI that is kept, if it is one. */
function comfyuiAddress() {
  const address = kept.get("comfyui") ?? COMFYUI;
  return /^https?:\/\/[^/?#]+/.test(address) ? address : COMFYUI;
}

/** Open a picture's settings in ComfyUI, whose page reads them from the part of the address after the #. */
function openInComfyui(cell) {
  const address = comfyuiAddress().replace(/[#?].*$/, "").replace(/\/*$/, "/");
  open(`${address}#concord=${encodeURIComponent(cell.infotext)}`, "concord-comfyui");
}

function addressField() {
  const input = el("input", { type: "url", value: comfyuiAddress(), spellcheck: false });
  input.addEventListener("change", () => {
    kept.set("comfyui", input.value.trim());
    input.value = comfyuiAddress();
  });
  const words = "Concord must be installed there. Without it, drop the picture's file on ComfyUI's page.";
  const title = el("summary", {}, "Where ComfyUI is");
  return el("details", { className: "address" }, title, el("label", {}, "Address", input), el("p", {}, words));
}

function panelOf(cell, viewer) {
  const actions = el("div", { className: "actions" });
  if (cell.failed === null) {
    const chosen = viewer.marks.cells.filter((one) => one !== cell);
    const words = viewer.marks.letter(cell) ? "Chosen" : chosen.length ? "Compare with A" : "Compare";
    actions.append(
      button(words, "compare", () => viewer.choose(cell), { title: "Compare (c)", "aria-pressed": viewer.marks.letter(cell) !== "" }),
    );
  }
  if (cell.infotext) {
    actions.append(button("Copy infotext", "copy", () => copyInfotext(cell), { title: "Copy infotext (i)" }));
    actions.append(button("Open in ComfyUI", "open", () => openInComfyui(cell)));
  }
  if (cell.workflow !== null) {
    const name = `${cell.name.replace(/\.\w+$/, "") || "workflow"}.json`;
    actions.append(button("Workflow", "save", () => download(cell.workflow, name, "application/json")));
  }
  if (cell.url !== null) {
    const link = el("a", { className: "button", href: cell.url, target: "_blank", rel: "noopener" }, icon("image"), "File");
    actions.append(link);
  }
  const list = el("dl", { className: "fields" });
  for (const field of fields) {
    const value = cell.values[field.index];
    if (value === null) continue;
    const words = el("dd", { dir: "auto" }, shown(value));
    list.append(el("dt", { dir: "auto", className: field.isAxis ? "axis" : "" }, field.label), words);
  }
  const made = [el("h2", { dir: "auto" }, cell.name || labelOf(cell))];
  if (cell.width) made.push(el("p", { className: "faint" }, `${cell.width} × ${cell.height}`));
  made.push(actions);
  if (cell.infotext) made.push(addressField());
  made.push(list);
  if (cell.infotext) {
    const text = el("pre", { dir: "auto", tabIndex: 0 }, cell.infotext);
    made.push(el("details", { className: "infotext" }, el("summary", {}, "Infotext"), text));
  }
  return made;
}

function differencesOf(pair, differing, viewer) {
  const head = el("tr", {}, el("th", { scope: "col" }, "Setting"), el("th", { scope: "col" }, "A"), el("th", { scope: "col" }, "B"));
  const rows = differing.map((field) => {
    const words = pair.map((cell) => el("td", { dir: "auto" }, shown(cell.values[field.index])));
    return el("tr", {}, el("th", { scope: "row", dir: "auto" }, field.label), ...words);
  });
  const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
  const none = el("p", { className: "faint" }, "Their settings are the same.");
  const open = pair.map((cell, i) => button(`Open ${"AB"[i]}`, "image", () => viewer.open(cell)));
  const swap = button("Swap", "swap", () => {
    viewer.marks.cells = [...viewer.marks.cells].reverse();
    viewer.marks.changed();
    viewer.compare(viewer.mode);
  });
  const hint = el("p", { className: "faint hint" }, "Hold Space to see the other one.");
  return [el("h2", {}, "What differs"), rows.length ? table : none, el("div", { className: "actions" }, swap, ...open), hint];
}
