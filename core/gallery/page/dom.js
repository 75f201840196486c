// Small tools for the page: elements, icons, what is kept from visit to visit, and words that pass by.

const at = (id) => document.getElementById(id);

/** Make an element; `given`: properties, with `on…` as listeners, `aria…`, `data…` and `role` as attributes. */
function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (/^(aria-|data-|role|for|list)/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function icon(name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  made.setAttribute("aria-hidden", "true");
  made.append(use);
  return made;
}

function button(words, name, onclick, given = {}) {
  const more = given.className ? ` ${given.className}` : "";
  const made = el("button", { type: "button", ...given, className: `button${more}`, onclick });
  if (name) made.append(icon(name));
  made.append(el("span", {}, words));
  return made;
}

function iconButton(words, name, onclick, given = {}) {
  const more = given.className ? ` ${given.className}` : "";
  const own = { type: "button", title: words, "aria-label": words, ...given, className: `button icon${more}`, onclick };
  return el("button", own, icon(name));
}

/** What the browser keeps for the page; where it keeps nothing, each visit begins anew. */
const kept = {
  get(name) {
    try {
      return localStorage.getItem(`concord-gallery-${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`concord-gallery-${name}`, value);
    } catch {
      // a browser that keeps nothing
    }
  },
};

let toastTimer = 0;

function say(words) {
  const toast = at("toast");
  const host = document.querySelector("dialog[open]") ?? document.body; // what is behind a dialog is not seen
  host.append(toast);
  toast.textContent = words;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), 2600);
}

async function copy(text, words) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = el("textarea", { value: text, className: "offscreen" });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) return say("The browser does not let the page copy; select the text and copy it");
  }
  return say(words);
}

function download(text, name, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
