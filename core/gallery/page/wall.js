// The pictures, as a grid with labels or as a list; only those that are in sight are on the page.

const GAP = 10;
const HEAD = 34; // height of the labels above
const CAPTION = 40; // height of the words below a picture of the list
const FOOT = 84; // room below, for what floats there
const SPARE = 1; // rows and columns beyond the edges
const ratios = cells.filter((cell) => cell.width && cell.height).map((cell) => cell.height / cell.width).sort((a, b) => a - b);
const RATIO = Math.min(2.5, Math.max(0.4, ratios[ratios.length >> 1] ?? 1));
const ruler = document.createElement("canvas").getContext("2d");

function widthOf(words, font = "600 13px system-ui, sans-serif") {
  ruler.font = font;
  return ruler.measureText(words).width;
}

class Wall {
  /** `open`: called with a cell; `mark`: likewise, for a comparison; `isMarked` tells whether one is. */
  constructor({ open, mark, isMarked }) {
    Object.assign(this, { open, mark, isMarked });
    this.scroller = at("scroller");
    this.root = at("wall");
    this.rows = new Map();
    this.tiles = new Map();
    this.focus = [0, 0];
    this.layout = null;
    this.root.setAttribute("role", "grid");
    this.root.setAttribute("aria-label", "Pictures");
    this.scroller.addEventListener("scroll", () => this.render(), { passive: true });
    this.root.addEventListener("click", (event) => this.clicked(event));
    this.root.addEventListener("keydown", (event) => this.pressed(event));
    this.root.addEventListener("focusin", (event) => this.focused(event));
  }

  /** Lay out `found`, cells in order. */
  lay(found) {
    const ratio = RATIO;
    const room = this.scroller.clientWidth - 2 * GAP;
    this.found = found;
    this.layout = state.view === "grid" ? this.gridOf(found, ratio) : this.listOf(found, ratio, room);
    const { width, height, rows, columns, head, top, side } = this.layout;
    this.root.style.width = `${side + columns * width + GAP}px`;
    this.root.style.height = `${top + rows * height + FOOT}px`;
    this.root.className = `wall ${state.view}`;
    this.root.setAttribute("aria-rowcount", String(rows + (head ? 1 : 0)));
    this.root.setAttribute("aria-colcount", String(columns + (head ? 1 : 0)));
    this.focus = [Math.min(this.focus[0], rows - 1), Math.min(this.focus[1], columns - 1)].map((i) => Math.max(i, 0));
    if (!this.stackAt(...this.focus)) this.focus = this.first();
    for (const { row } of this.rows.values()) row.remove();
    this.rows.clear();
    this.heads?.remove();
    this.heads = head ? this.headsOf() : null;
    if (this.heads) this.root.prepend(this.heads);
    this.render();
  }

  listOf(found, ratio, room) {
    const columns = Math.max(1, Math.floor((room + GAP) / (state.size + GAP)));
    const width = Math.floor(room / columns);
    const height = Math.round((width - GAP) * ratio) + GAP + CAPTION;
    const stack = (row, column) => {
      const cell = found[row * columns + column];
      return cell ? [cell] : null;
    };
    return { width, height, columns, rows: Math.ceil(found.length / columns), head: 0, top: 6, side: GAP, stack };
  }

  gridOf(found, ratio) {
    const { across, along } = state;
    const places = new Map();
    const [xs, ys] = [new Set(), new Set()];
    for (const cell of found) {
      if (!isOnPage(cell)) continue;
      const x = cell.position[across];
      const y = along < 0 ? 0 : cell.position[along];
      const key = `${x},${y}`;
      xs.add(x);
      ys.add(y);
      if (places.has(key)) places.get(key).push(cell);
      else places.set(key, [cell]);
    }
    const [columnsAt, rowsAt] = [xs, ys].map((one) => [...one].sort((a, b) => a - b));
    const columnHeads = columnsAt.map((i) => shown(GALLERY.axes[across].values[i]));
    const rowHeads = along < 0 ? rowsAt.map(() => "") : rowsAt.map((i) => shown(GALLERY.axes[along].values[i]));
    const most = Math.min(220, Math.max(72, this.scroller.clientWidth * 0.3));
    const corner = along < 0 ? "" : GALLERY.axes[along].label;
    const wanted = Math.max(widthOf(corner) + 8, ...rowHeads.map((words) => widthOf(words))) + 26;
    return {
      width: state.size + GAP,
      height: Math.round(state.size * ratio) + GAP,
      columns: columnsAt.length,
      rows: rowsAt.length,
      head: HEAD,
      top: HEAD,
      side: along < 0 ? GAP : Math.round(Math.min(most, wanted)),
      corner,
      columnHeads,
      rowHeads,
      stack: (row, column) => places.get(`${columnsAt[column]},${rowsAt[row]}`) ?? null,
    };
  }

  headsOf() {
    const { width, columns, side, corner, columnHeads } = this.layout;
    const heads = el("div", { className: "heads", role: "row", "aria-rowindex": 1 });
    heads.style.height = `${HEAD}px`;
    const first = el("div", { className: "corner", role: "columnheader", dir: "auto", "aria-colindex": 1 }, corner);
    first.style.width = `${side}px`;
    heads.append(first);
    this.columnHeads = new Map();
    for (let i = 0; i < columns; i += 1) {
      const words = el("span", { dir: "auto", title: columnHeads[i] }, columnHeads[i]);
      const head = el("div", { className: "head", role: "columnheader", "aria-colindex": i + 2 }, words);
      head.style.left = `${side + i * width}px`;
      head.style.width = `${width - GAP}px`;
      heads.append(head);
    }
    return heads;
  }

  /** Put on the page what is in sight, and take away what is not. */
  render() {
    if (!this.layout) return;
    const { width, height, rows, columns, top: begin, side } = this.layout;
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.scroller;
    const span = (from, length, size, most) => [
      Math.max(0, Math.floor(from / size) - SPARE),
      Math.min(most, Math.ceil((from + length) / size) + SPARE),
    ];
    const [top, bottom] = span(scrollTop - begin, clientHeight, height, rows);
    const [left, right] = state.view === "list" ? [0, columns] : span(scrollLeft - side, clientWidth, width, columns);
    const held = this.root.contains(document.activeElement) ? this.focus : [-1, -1];
    for (const [r, one] of this.rows) {
      if ((r < top || r >= bottom) && r !== held[0]) {
        one.row.remove();
        this.rows.delete(r);
      }
    }
    for (let r = top; r < bottom; r += 1) this.fill(r, left, right, held[0] === r ? held[1] : -1);
  }

  fill(r, left, right, held) {
    let one = this.rows.get(r);
    if (!one) {
      one = { row: this.rowOf(r), cells: new Map() };
      this.rows.set(r, one);
      const after = [...this.rows.keys()].filter((other) => other > r).sort((a, b) => a - b)[0];
      this.root.insertBefore(one.row, after === undefined ? null : this.rows.get(after).row);
    }
    for (const [c, cell] of one.cells) {
      if ((c < left || c >= right) && c !== held) {
        cell.remove();
        one.cells.delete(c);
      }
    }
    for (let c = left; c < right; c += 1) {
      if (one.cells.has(c)) continue;
      const made = this.cellOf(r, c);
      if (!made) continue;
      one.cells.set(c, made);
      one.row.append(made);
    }
  }

  rowOf(r) {
    const { height, head, top, side, rowHeads } = this.layout;
    const row = el("div", { className: "row", role: "row", "aria-rowindex": r + (head ? 2 : 1) });
    row.style.top = `${top + r * height}px`;
    row.style.height = `${height}px`;
    if (head && state.along >= 0) {
      const words = el("span", { dir: "auto", title: rowHeads[r] }, rowHeads[r]);
      const first = el("div", { className: "rowhead", role: "rowheader", "aria-colindex": 1 }, words);
      first.style.width = `${side}px`;
      row.append(first);
    }
    return row;
  }

  cellOf(r, c) {
    const { width, height, head, side, stack } = this.layout;
    const own = stack(r, c);
    if (!own && !head) return null;
    const cell = el("div", { className: own ? "cell" : "cell empty", role: "gridcell", "aria-colindex": c + (head ? 2 : 1) });
    cell.style.left = `${side + c * width}px`;
    cell.style.width = `${width - GAP}px`;
    cell.style.height = `${height - GAP}px`;
    cell.dataset.at = `${r},${c}`;
    if (own) cell.append(...this.tileOf(own, r, c));
    return cell;
  }

  /** The picture and what belongs to it; kept, so that a picture that stays in sight is not loaded anew. */
  tileOf(stack, r, c) {
    const [cell] = stack;
    let parts = this.tiles.get(cell.index);
    if (!parts) {
      parts = [el("button", { type: "button", className: "tile" }), this.markOf(cell)];
      parts[0].append(cell.failed === null ? el("img", { alt: "", decoding: "async", draggable: true }) : problemOf(cell));
      this.tiles.set(cell.index, parts);
      if (this.tiles.size > 1500) this.tiles.delete(this.tiles.keys().next().value);
    }
    const [tile, mark] = parts;
    tile.tabIndex = mark.tabIndex = r === this.focus[0] && c === this.focus[1] ? 0 : -1;
    tile.setAttribute("aria-label", labelOf(cell) + (stack.length > 1 ? `, ${stack.length} pictures` : ""));
    tile.dataset.count = stack.length > 1 ? `×${stack.length}` : "";
    const img = tile.querySelector("img");
    const large = (this.layout.width - GAP) * (devicePixelRatio || 1) > 400;
    const src = large ? cell.url : cell.small;
    if (img && img.getAttribute("src") !== src) img.src = src;
    this.caption(tile, cell);
    this.showMark(mark, cell);
    return parts;
  }

  caption(tile, cell) {
    tile.querySelector(".caption")?.remove();
    if (state.view !== "list") return;
    const words = captionOf(cell);
    const main = state.sort >= 0 ? words.filter(([label]) => label === fields[state.sort].label) : words.slice(0, 1);
    const rest = words.filter((pair) => !main.includes(pair));
    const line = (pairs, tag) => {
      const text = wordsOfPairs(pairs);
      return el(tag, { dir: "auto", title: text }, text);
    };
    tile.append(el("span", { className: "caption" }, line(main, "b"), line(rest, "span")));
  }

  markOf(cell) {
    const words = `Compare ${labelOf(cell)}`;
    return el("button", { type: "button", className: "mark", "aria-label": words, title: "Compare (c)" }, icon("compare"));
  }

  showMark(mark, cell) {
    const letter = this.isMarked(cell);
    mark.hidden = cell.failed !== null;
    mark.setAttribute("aria-pressed", String(letter !== ""));
    mark.dataset.letter = letter;
  }

  /** Show anew which pictures are chosen for a comparison. */
  showMarks() {
    for (const [index, [, mark]] of this.tiles) this.showMark(mark, cells[index]);
  }

  stackAt(r, c) {
    return r >= 0 && c >= 0 && r < this.layout.rows && c < this.layout.columns ? this.layout.stack(r, c) : null;
  }

  first() {
    for (let r = 0; r < this.layout.rows; r += 1) {
      for (let c = 0; c < this.layout.columns; c += 1) if (this.stackAt(r, c)) return [r, c];
    }
    return [0, 0];
  }

  placeOf(target) {
    const at = target.closest?.(".cell")?.dataset.at;
    return at ? at.split(",").map(Number) : null;
  }

  clicked(event) {
    const place = this.placeOf(event.target);
    const stack = place && this.stackAt(...place);
    if (!stack) return;
    if (event.target.closest(".mark")) this.mark(stack[0]);
    else if (event.target.closest(".tile")) this.open(stack[0]);
  }

  focused(event) {
    const place = this.placeOf(event.target);
    if (place) this.rove(place);
  }

  rove(place) {
    for (const one of this.root.querySelectorAll(".tile[tabindex='0'], .mark[tabindex='0']")) one.tabIndex = -1;
    this.focus = place;
    const cell = this.rows.get(place[0])?.cells.get(place[1]);
    for (const one of cell?.children ?? []) one.tabIndex = 0;
  }

  /** Move the focus to the place (row, column), which is brought into sight. */
  goTo(r, c) {
    const { width, height, head, top, side } = this.layout;
    const box = this.scroller;
    const [x, y] = [side + c * width, top + r * height];
    if (y - head < box.scrollTop) box.scrollTop = y - head;
    if (y + height > box.scrollTop + box.clientHeight) box.scrollTop = y + height - box.clientHeight;
    if (state.view === "grid") {
      if (x - side < box.scrollLeft) box.scrollLeft = x - side;
      if (x + width > box.scrollLeft + box.clientWidth) box.scrollLeft = x + width - box.clientWidth;
    }
    this.focus = [r, c];
    this.render();
    this.fill(r, c, c + 1, c);
    this.rove([r, c]);
    this.rows.get(r).cells.get(c)?.querySelector(".tile")?.focus({ preventScroll: true });
    this.render();
  }

  /** Move the focus to a cell. */
  goToCell(cell) {
    for (let r = 0; r < this.layout.rows; r += 1) {
      for (let c = 0; c < this.layout.columns; c += 1) {
        if (this.stackAt(r, c)?.includes(cell)) return this.goTo(r, c);
      }
    }
    return undefined;
  }

  pressed(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.layout.height) - 1);
    Object.assign(steps, { PageUp: [-page, 0], PageDown: [page, 0] });
    const { rows, columns } = this.layout;
    if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      const row = event.ctrlKey ? (event.key === "Home" ? 0 : rows - 1) : this.focus[0];
      const inRow = [...Array(columns).keys()].filter((c) => this.stackAt(row, c));
      if (inRow.length) this.goTo(row, event.key === "Home" ? inRow[0] : inRow.at(-1));
      return;
    }
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = this.next(this.focus, step);
    if (next) this.goTo(...next);
  }

  /** The next place with a picture in a direction; of a list, the lines follow each other. */
  next([r, c], [down, right]) {
    const { rows, columns } = this.layout;
    if (state.view === "list" && right) {
      const i = r * columns + c + right;
      return i >= 0 && i < this.found.length ? [Math.floor(i / columns), i % columns] : null;
    }
    let [y, x] = [r + down, c + right];
    if (Math.abs(down) > 1) y = Math.min(rows - 1, Math.max(0, y));
    while (y >= 0 && x >= 0 && y < rows && x < columns) {
      if (this.stackAt(y, x)) return [y, x];
      if (Math.abs(down) > 1) return null;
      [y, x] = [y + down, x + right];
    }
    return state.view === "list" && down > 0 && r < rows - 1 ? [rows - 1, (this.found.length - 1) % columns] : null;
  }
}

/** Tell whether a cell lies on the page of the grid that is shown. */
function isOnPage(cell) {
  return (
    cell.position !== null &&
    cell.position.every((i, axis) => axis === state.across || axis === state.along || i === state.pages[axis])
  );
}

function problemOf(cell) {
  return el("span", { className: "problem" }, icon("warn"), el("span", { dir: "auto" }, cell.failed));
}
