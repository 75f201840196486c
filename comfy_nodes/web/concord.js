// Concord in ComfyUI's page: marks in its prompt boxes, and pictures of the web UIs opened as workflows.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { infotextOf } from "./infotext.js";
import { PromptMarks, STYLE } from "./prompt_marks.js";

const OPEN = "Concord.OpenImage";
const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/avif"];
const TEXTS = ["text", "positive", "negative", "prompt", "negative_prompt"];
const OF_PROFILE = "as the profile";
const MOST_STEPS = 1000;
const SETTLED = 1000; // milliseconds without a graph that the page loads by itself
const LEAST_HEIGHT = 120; // of a prompt box with its strip
const replayed = new WeakSet();

/** Ask one of the pack's routes; an error that the server explains has its line as `answer`. */
async function ask(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const response = await api.fetchApi(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  const found = await response.json();
  if (!response.ok) throw Object.assign(new Error(found.error), { answer: found.error });
  return found;
}

function say(severity, detail) {
  app.extensionManager.toast.add({ severity, summary: "Concord", detail, life: 12000 });
}

/** Put marks into the prompt boxes of one of the pack's nodes. */
function markPrompts(node) {
  const boxes = [];
  for (const widget of node.widgets ?? []) {
    const field = widget.inputEl ?? widget.element;
    if (!TEXTS.includes(widget.name) || !(field instanceof HTMLTextAreaElement)) continue;
    const settings = () => settingsOf(node, widget.name);
    const marks = new PromptMarks(field, (body, signal) => ask("/concord/explain", body, signal), settings);
    widget.element = marks.element;
    widget.options.getMinHeight ??= () => LEAST_HEIGHT;
    chain(widget, "callback", () => marks.changed());
    marks.changed();
    boxes.push(marks);
  }
  if (boxes.length) chain(node, "onWidgetChanged", () => boxes.forEach((marks) => marks.changed()));
}

/** Call `more` after the method `name`, which may be missing. */
function chain(owner, name, more) {
  const before = owner[name];
  owner[name] = function (...given) {
    const result = before?.apply(this, given);
    more();
    return result;
  };
}

function settingsOf(node, name) {
  const value = (of) => node.widgets.find((widget) => widget.name === of)?.value;
  const asked = { negative: name.startsWith("negative") || value("negative") === true };
  const steps = value("steps") || value("total_steps");
  if (Number.isInteger(steps) && steps >= 1) asked.steps = Math.min(steps, MOST_STEPS);
  const dialect = value("dialect");
  if (dialect && dialect !== OF_PROFILE) asked.dialect = dialect;
  else if (value("profile")) asked.profile = value("profile");
  return asked;
}

/** Load the workflow of an infotext into a new tab. */
async function openInfotext(text, fileName) {
  const { workflow, notes } = await ask("/concord/workflow", { text });
  await app.loadGraphData(workflow, true, true, fileName.replace(/\.\w+$/, ""));
  if (notes.length) say("warn", notes.join("\n"));
}

async function openPicture(file) {
  const { text } = await infotextOf(file);
  if (!text) {
    say("error", `${file.name} has no settings of a web UI in it.`);
    return;
  }
  await openInfotext(text, file.name).catch((error) => say("error", `${file.name}: ${error.message}`));
}

function choosePicture() {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = PICTURES.join(",");
  input.addEventListener("change", () => input.files[0] && openPicture(input.files[0]));
  input.click();
}

/**
 * Take a dropped picture that has an infotext and no graph of ComfyUI's; whatever else is dropped, the page gets
 * as if nothing had been in between.
 */
async function dropped(event) {
  const files = event.dataTransfer?.files ?? [];
  const file = files[0];
  if (replayed.has(event) || app.dragOverNode || files.length !== 1 || !PICTURES.includes(file.type)) return;
  if (event.target.closest?.("dialog, [role=dialog], input, .p-dialog")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const { target, clientX, clientY } = event;
  const { text, hasGraph } = await infotextOf(file);
  if (text && !hasGraph) {
    try {
      await openInfotext(text, file.name);
      return;
    } catch (error) {
      say("warn", `${file.name}: ${error.message}`);
    }
  }
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(file);
  const again = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer, clientX, clientY });
  replayed.add(again);
  target.dispatchEvent(again);
}

/** Take the infotext that a gallery's "Open in ComfyUI" puts into the address, after the #. */
function takeAddress() {
  const found = /^#concord=(.+)/.exec(location.hash);
  if (!found) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return null;
  }
}

async function openAddress(text) {
  await openInfotext(text, "gallery").catch((error) => say("error", `The gallery's picture: ${error.message}`));
}

let waiting = takeAddress(); // until the page has loaded what it shows at first
let settling = 0;
addEventListener(
  "hashchange",
  (event) => {
    const text = takeAddress();
    if (text === null) return;
    event.stopImmediatePropagation();
    openAddress(text);
  },
  true,
);

app.registerExtension({
  name: "Concord",
  commands: [
    {
      id: OPEN,
      icon: "pi pi-image",
      label: "Open A1111 image as Concord workflow",
      menubarLabel: "Open A1111 image as Concord workflow",
      function: choosePicture,
    },
  ],
  menuCommands: [{ path: ["File"], commands: [OPEN] }],
  setup() {
    const style = document.createElement("style");
    style.textContent = STYLE;
    document.head.append(style);
    document.addEventListener("drop", dropped, true);
  },
  afterConfigureGraph() {
    if (waiting === null) return;
    clearTimeout(settling); // the page may load a default first, and then what was open before
    settling = setTimeout(() => {
      const text = waiting;
      waiting = null;
      openAddress(text);
    }, SETTLED);
  },
  nodeCreated(node) {
    if (node.comfyClass?.startsWith("Concord")) markPrompts(node);
  },
});
