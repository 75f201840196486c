// What is shown of a prompt while it is typed: tokens, ends of chunks, weights, and what the prompt doctor says.

const PAUSE_MS = 200;
const PATIENCE_MS = 15000;
const AGAIN_MS = 5000;
const ROOM = 75;
const WHOLE = 120; // a warning of a whole text longer than this is not underlined
const TEXT_STYLES = [
  ...["fontFamily", "fontSize", "fontStyle", "fontWeight", "fontVariant", "letterSpacing", "lineHeight", "tabSize"],
  ...["paddingTop", "paddingRight", "paddingBottom", "paddingLeft", "textAlign", "textIndent", "wordSpacing"],
];

export const STYLE = `
.concord-box { display: flex; flex-direction: column; width: 100%; height: 100%; box-sizing: border-box; }
.concord-field { position: relative; flex: 1 1 auto; min-height: 0; background: var(--comfy-input-bg, #222);
  border-radius: 4px 4px 0 0; overflow: hidden; }
.concord-field > textarea { position: absolute; inset: 0; width: 100%; height: 100%;
  background: transparent !important; }
.concord-mirror { position: absolute; top: 0; left: 0; bottom: 0; overflow: hidden; pointer-events: none;
  color: transparent; white-space: pre-wrap; overflow-wrap: break-word; box-sizing: border-box; user-select: none; }
.concord-mirror .weighted { border-radius: 2px; }
.concord-mirror .warned { background: rgb(255 107 94 / 0.22); text-decoration: underline wavy #ff6b5e 1px; text-decoration-skip-ink: none; }
.concord-mirror .edge { position: relative; }
.concord-mirror .edge::before { content: ""; position: absolute; left: -1px; top: 0; height: 1.15em;
  border-left: 2px solid #41b0ff; }
.concord-strip { flex: 0 0 auto; font: 11px/1.5 system-ui, sans-serif; color: var(--descrip-text, #aaa);
  background: var(--comfy-menu-bg, #353535); border-radius: 0 0 4px 4px; padding: 1px 6px 2px; user-select: none;
  pointer-events: auto; }
.concord-strip.waiting { opacity: 0.6; }
.concord-strip .count { color: var(--input-text, #ddd); font-weight: 600; }
.concord-strip .count.long { color: #41b0ff; }
.concord-strip .chunks { margin-left: 6px; }
.concord-strip .warning { display: block; color: #ffb454; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; cursor: pointer; }
`;

/** One prompt's textarea with marks behind it and a strip under it. */
export class PromptMarks {
  /**
   * @param {HTMLTextAreaElement} field
   * @param {(body: object, signal: AbortSignal) => Promise<object>} explain asks the server
   * @param {() => object} settings what goes with the text: dialect, negative, steps
   */
  constructor(field, explain, settings) {
    this.field = field;
    this.explain = explain;
    this.settings = settings;
    this.shown = null; // {text, marks}
    this.asked = "";
    this.turn = 0;
    this.element = element("div", "concord-box");
    this.mirror = element("div", "concord-mirror");
    this.strip = element("div", "concord-strip");
    this.strip.setAttribute("role", "status");
    this.frame = element("div", "concord-field");
    this.frame.append(this.mirror, field);
    this.element.append(this.frame, this.strip);
    field.addEventListener("input", () => this.changed());
    field.addEventListener("scroll", () => this.follow());
    for (const event of ["keyup", "click", "focus"]) field.addEventListener(event, () => this.drawStrip());
    new ResizeObserver(() => this.drawMirror()).observe(field);
    this.drawStrip();
  }

  /** The text or its settings may have changed: show what is still known, and ask after a pause. */
  changed() {
    this.drawMirror();
    this.drawStrip();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), PAUSE_MS);
  }

  /** Ask the server; while it works at an older text, wait for that. */
  async ask() {
    const text = this.field.value;
    const body = { text, ...this.settings() };
    const key = JSON.stringify(body);
    if (this.busy || key === this.asked) return;
    this.busy = true;
    try {
      const marks = await this.explain(body, AbortSignal.timeout(PATIENCE_MS));
      this.shown = { text, marks };
      this.asked = key;
      this.problem = "";
    } catch (error) {
      this.problem = error.answer ?? "no answer from the server";
      this.asked = error.answer ? key : "";
    }
    this.busy = false;
    this.drawMirror();
    this.drawStrip();
    if (this.problem && !this.asked) {
      if (this.field.isConnected) this.timer = setTimeout(() => this.ask(), AGAIN_MS);
    } else if (this.field.value !== text || JSON.stringify({ text, ...this.settings() }) !== key) {
      this.changed();
    }
  }

  get isCurrent() {
    return this.shown?.text === this.field.value;
  }

  /** Put the marks that still hold behind the text. */
  drawMirror() {
    const { field, mirror } = this;
    if (!field.isConnected) return;
    const style = getComputedStyle(field);
    for (const name of TEXT_STYLES) mirror.style[name] = style[name];
    mirror.style.width = `${field.clientWidth}px`;
    const text = field.value;
    mirror.replaceChildren(...(this.shown ? pieces(text, moved(this.shown, text)) : [text]), "\n");
    this.follow();
  }

  follow() {
    this.mirror.scrollTop = this.field.scrollTop;
  }

  drawStrip() {
    const { strip } = this;
    strip.classList.toggle("waiting", !this.isCurrent);
    const marks = this.shown?.marks;
    if (!marks) {
      strip.replaceChildren(this.problem || "…");
      return;
    }
    const chunks = marks.chunks;
    const parts = new Set(chunks.map((chunk) => chunk.part)).size;
    const most = Math.max(1, ...[...Array(parts).keys()].map((i) => chunks.filter((one) => one.part === i).length));
    const room = ROOM * Math.max(most, Math.ceil(marks.tokens / ROOM));
    const count = element("span", `count${room > ROOM ? " long" : ""}`, `${marks.tokens}/${room}`);
    const words = [
      chunks.length > 1 ? chunkWords(chunks, parts) : "",
      marks.texts > parts ? `${marks.texts} texts over the steps` : "",
      this.problem,
    ].filter(Boolean);
    strip.replaceChildren(count, element("span", "chunks", `tokens${words.map((word) => ` · ${word}`).join("")}`));
    const warnings = marks.warnings;
    strip.title = warnings.map(sentence).join("\n\n");
    if (warnings.length) strip.append(this.warningLine(warnings));
  }

  /** Return the warning at the caret, else the next in turn; a click selects its place. */
  warningLine(warnings) {
    const caret = this.field.selectionStart;
    const here = warnings.findIndex((one) => one.start <= caret && caret <= one.end);
    const focused = document.activeElement === this.field && here >= 0;
    const index = focused ? here : this.turn % warnings.length;
    const number = warnings.length > 1 ? ` (${index + 1}/${warnings.length})` : "";
    const line = element("span", "warning", `⚠${number} ${sentence(warnings[index])}`);
    line.addEventListener("click", () => {
      const place = this.isCurrent ? warnings[index] : null;
      this.turn = index + 1;
      this.field.focus();
      if (place) this.field.setSelectionRange(place.start, place.end);
    });
    return line;
  }
}

function chunkWords(chunks, parts) {
  const lists = [...Array(parts).keys()].map((part) =>
    chunks.filter((chunk) => chunk.part === part).map((chunk) => chunk.tokens),
  );
  const words = lists.map((tokens) => tokens.slice(0, 6).join(" + ") + (tokens.length > 6 ? " + …" : ""));
  return words.slice(0, 4).join(" AND ") + (words.length > 4 ? " AND …" : "");
}

function sentence(warning) {
  return `${warning.message}; ${warning.suggestion}`;
}

/** Return the marks of a text as they lie in a later one: those in what changed are left out. */
export function moved({ text, marks }, now) {
  if (text === now) return marks;
  const most = Math.min(text.length, now.length);
  let same = 0;
  while (same < most && text[same] === now[same]) same++;
  let end = 0;
  while (end < most - same && text[text.length - 1 - end] === now[now.length - 1 - end]) end++;
  const shift = now.length - text.length;
  const kept = (list) =>
    list.flatMap((one) => {
      if (one.end <= same) return [one];
      return one.start >= text.length - end ? [{ ...one, start: one.start + shift, end: one.end + shift }] : [];
    });
  return { ...marks, chunks: kept(marks.chunks), weights: kept(marks.weights), warnings: kept(marks.warnings) };
}

/** Return the text as elements, one for each stretch under the same marks. */
export function pieces(text, marks) {
  const warnings = marks.warnings.filter((one) => one.end - one.start < text.length || text.length <= WHOLE);
  const borders = marks.chunks.slice(1).filter((one, i) => one.part === marks.chunks[i].part);
  const edges = new Set(borders.map((one) => one.start));
  const cuts = new Set([0, text.length, ...edges]);
  for (const one of [...marks.weights, ...warnings]) cuts.add(one.start).add(one.end);
  const sorted = [...cuts].filter((at) => at <= text.length).sort((a, b) => a - b);
  const found = [];
  let weight = 0;
  for (let i = 0; i + 1 < sorted.length; i++) {
    const [start, end] = [sorted[i], sorted[i + 1]];
    while (weight < marks.weights.length && marks.weights[weight].end <= start) weight++;
    const piece = element("span", "", text.slice(start, end));
    const over = marks.weights[weight];
    if (over && over.start <= start) {
      piece.classList.add("weighted");
      piece.style.background = colour(over.weight);
    }
    if (warnings.some((one) => one.start <= start && end <= one.end)) piece.classList.add("warned");
    if (edges.has(start)) found.push(element("i", "edge"));
    found.push(piece);
  }
  return found;
}

/** Return warm colours above 1 and cold ones below, stronger with the distance. */
export function colour(weight) {
  const strength = Math.min(0.6, 0.18 + Math.abs(Math.log(Math.max(Math.abs(weight), 0.05))) * 0.55);
  return `hsl(${weight > 1 ? 20 : 215} 85% 55% / ${strength.toFixed(2)})`;
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}
