// A place in which one or two pictures are seen, made larger and moved with wheel, fingers, mouse or keys.

const MOST_ZOOM = 64;

class Stage {
  /** `box`: the element in which pictures lie, each filling it; `changed`: called with the scale in percent. */
  constructor(box, changed) {
    Object.assign(this, { box, changed, size: [1, 1], pointers: new Map() });
    box.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    box.addEventListener("pointerdown", (event) => this.down(event));
    box.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, (event) => this.up(event));
    box.addEventListener("dblclick", (event) => this.toggle(event));
    new ResizeObserver(() => this.isFit && this.fit()).observe(box);
  }

  /** Show pictures of `size`, (width, height), as they fit. */
  show(size) {
    this.size = size;
    this.fit();
  }

  /** The room that one picture has: half of the box where two lie side by side. */
  get room() {
    const { clientWidth, clientHeight } = this.box;
    return [this.box.classList.contains("side") ? clientWidth / 2 : clientWidth, clientHeight];
  }

  fit() {
    const [width, height] = this.room;
    this.scale = Math.max(0.01, Math.min((width - 24) / this.size[0], (height - 24) / this.size[1]));
    this.fitted = this.scale;
    this.x = (width - this.size[0] * this.scale) / 2;
    this.y = (height - this.size[1] * this.scale) / 2;
    this.isFit = true;
    this.paint();
  }

  /** Multiply the size by `factor` about the point (x, y) of the box, its middle unless given. */
  zoom(factor, x = this.room[0] / 2, y = this.room[1] / 2) {
    const scale = Math.min(Math.max(this.scale * factor, Math.min(this.fitted, 1) / 2), MOST_ZOOM);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.isFit = false;
    this.paint();
  }

  paint() {
    const style = this.box.style;
    style.setProperty("--x", `${this.x}px`);
    style.setProperty("--y", `${this.y}px`);
    style.setProperty("--w", `${this.size[0] * this.scale}px`);
    style.setProperty("--h", `${this.size[1] * this.scale}px`);
    this.box.classList.toggle("pixels", this.scale >= 4 && !this.isFit);
    this.changed(Math.round(this.scale * 100));
  }

  point(event) {
    const box = this.box.getBoundingClientRect();
    return [(event.clientX - box.left) % this.room[0], event.clientY - box.top];
  }

  wheeled(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), ...this.point(event));
  }

  toggle(event) {
    if (event.target.closest("button, [role=slider]")) return;
    if (this.isFit) this.zoom(Math.max(2, 1 / this.scale), ...this.point(event));
    else this.fit();
  }

  down(event) {
    if (event.button || event.target.closest("button, [role=slider]")) return;
    event.preventDefault();
    this.box.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.box.classList.add("held");
  }

  moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.pointers.set(event.pointerId, now);
    if (others.length) {
      const far = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]) || 1;
      this.zoom(far(now) / far(before), ...this.point({ clientX: (now[0] + others[0][0]) / 2, clientY: (now[1] + others[0][1]) / 2 }));
    } else {
      this.x += now[0] - before[0];
      this.y += now[1] - before[1];
      this.isFit = this.isFit && now[0] === before[0] && now[1] === before[1];
      this.paint();
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.box.classList.remove("held");
  }
}
