// The panel "Concord Explain" of the web UIs: chunks, weights, warnings and the timeline of both prompts as they are
// typed.  Twice a second it looks whether the prompts of an open panel have changed, and asks once they rest.

(() => {
  const EVERY_MS = 400;
  const AGAIN_MS = 5000;
  const PATIENCE_MS = 15000;
  const ROOM = 75;
  const SIDES = [
    { name: "Prompt", field: "prompt", negative: false },
    { name: "Negative prompt", field: "neg_prompt", negative: true },
  ];
  const STYLE = `
.concord-explain { font-size: 13px; line-height: 1.55; }
.concord-explain h4 { margin: 6px 0 2px; font-size: 13px; }
.concord-explain .count { font-weight: 400; opacity: 0.8; margin-left: 8px; }
.concord-explain .text { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid rgb(128 128 128 / 0.35);
  border-radius: 6px; padding: 6px 8px; max-height: 18em; overflow-y: auto; }
.concord-explain .chunk { border-radius: 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.concord-explain .chunk.even { background: rgb(65 150 255 / 0.14); }
.concord-explain .chunk.odd { background: rgb(255 165 60 / 0.16); }
.concord-explain .edge { display: inline-block; font-size: 10px; line-height: 1.5; padding: 0 5px; margin: 0 3px;
  border-radius: 8px; border: 1px solid rgb(128 128 128 / 0.5); background: rgb(128 128 128 / 0.15);
  vertical-align: 1px; user-select: none; }
.concord-explain .weighted { border-bottom: 2px solid; }
.concord-explain .warned { text-decoration: underline wavy #e5533d 1.5px; text-decoration-skip-ink: none; }
.concord-explain .warning { color: #b45309; margin-top: 3px; }
.concord-explain .warning::before { content: "⚠ "; }
.dark .concord-explain .warning { color: #ffb454; }
.concord-explain img { max-width: 100%; margin-top: 6px; border-radius: 6px; display: block; }
`;

  const panels = ["txt2img", "img2img"].map((tab) => ({ tab, seen: "", shown: "", busy: false, rest: 0 }));

  function made(tag, name, text = "") {
    const one = document.createElement(tag);
    if (name) one.className = name;
    one.textContent = text;
    return one;
  }

  function find(selector) {
    return gradioApp().querySelector(selector);
  }

  function numberIn(selector) {
    const value = Number(find(`${selector} input[type=number]`)?.value);
    return Number.isFinite(value) ? value : 0;
  }

  /** Return what the panel of a tab is to show, as the server is asked for it, a request a side. */
  function questions(tab) {
    const steps = Math.min(Math.max(Math.round(numberIn(`#${tab}_steps`)) || 20, 1), 1000);
    const shared = { steps, dialect: find(`#concord_${tab}_prompt_dialect input`)?.value || "host", picture: true };
    const sampler = find(`#${tab}_sampling input`)?.value;
    if (sampler) shared.sampler = sampler;
    if (tab === "img2img") {
      shared.denoise = Math.min(Math.max(numberIn("#img2img_denoising_strength"), 0.001), 1);
    } else if (find("#txt2img_hr-checkbox input, #txt2img_enable_hr input")?.checked) {
      shared.hires_steps = Math.min(Math.max(Math.round(numberIn("#txt2img_hires_steps")) || steps, 1), 1000);
    }
    return SIDES.map(({ field, negative }) => ({
      ...shared,
      negative,
      text: find(`#${tab}_${field} textarea`)?.value ?? "",
    }));
  }

  async function ask(question) {
    const answer = await fetch(new URL("concord/explain", document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const found = await answer.json();
    if (!answer.ok && !found.error) throw new Error(`the server answers ${answer.status}`);
    return found;
  }

  /** Look at the panel of one tab: ask when its prompts have rested since the last look. */
  async function look(panel) {
    const root = find(`#concord_${panel.tab}_explain .concord-explain`);
    if (!root || root.offsetParent === null || panel.busy || Date.now() < panel.rest) return;
    const asked = questions(panel.tab);
    const key = JSON.stringify(asked);
    const rested = key === panel.seen;
    panel.seen = key;
    if (!rested || key === panel.shown) return;
    panel.busy = true;
    try {
      const answers = await Promise.all(asked.map(ask));
      root.replaceChildren(...answers.flatMap((answer, i) => side(SIDES[i], asked[i].text, answer)));
      panel.shown = key;
    } catch (error) {
      root.replaceChildren(made("i", "", `No answer from the server: ${error.message}`));
      panel.rest = Date.now() + AGAIN_MS;
    }
    panel.busy = false;
  }

  /** Return what is shown of one prompt. */
  function side({ name }, text, answer) {
    const heading = made("h4", "", name);
    if (answer.error) return [heading, made("i", "", answer.error)];
    const shown = [heading];
    const { chunks, tokens, texts, warnings } = answer;
    const room = ROOM * Math.max(1, Math.ceil(tokens / ROOM));
    const words = [`${tokens}/${room} tokens`, `${chunks.length} chunk${chunks.length === 1 ? "" : "s"}`];
    if (texts > 1) words.push(`${texts} texts`);
    heading.append(made("span", "count", words.join(" · ")));
    if (text) {
      const box = made("div", "text");
      box.append(...pieces(text, answer));
      shown.push(box);
    }
    shown.push(...warnings.map((one) => made("div", "warning", `${one.message}; ${one.suggestion}`)));
    if (answer.picture) {
      const picture = made("img", "");
      picture.src = answer.picture;
      picture.alt = "which text is active at which model call";
      shown.push(picture);
    }
    return shown;
  }

  /** Return the text in pieces under the same marks, with a badge of tokens where each chunk begins. */
  function pieces(text, { chunks, weights, warnings }) {
    const cuts = new Set([0, text.length]);
    for (const one of [...chunks, ...weights, ...warnings]) cuts.add(one.start).add(one.end);
    const sorted = [...cuts].filter((at) => at <= text.length).sort((a, b) => a - b);
    const begun = new Set();
    const found = [];
    for (let i = 0; i + 1 < sorted.length; i++) {
      const [start, end] = [sorted[i], sorted[i + 1]];
      const number = chunks.findIndex((one) => one.start <= start && end <= one.end);
      if (number >= 0 && !begun.has(number)) {
        begun.add(number);
        found.push(badge(chunks[number], number));
      }
      const piece = made("span", number < 0 ? "" : `chunk ${number % 2 ? "odd" : "even"}`, text.slice(start, end));
      const weight = weights.find((one) => one.start <= start && end <= one.end);
      if (weight) {
        piece.classList.add("weighted");
        piece.style.borderColor = colour(weight.weight);
        piece.title = `weight ${Number(weight.weight.toFixed(3))}`;
      }
      const warning = warnings.find((one) => one.start <= start && end <= one.end && one.end - one.start < text.length);
      if (warning) {
        piece.classList.add("warned");
        piece.title = warning.message;
      }
      found.push(piece);
    }
    return found;
  }

  function badge(chunk, number) {
    const one = made("span", "edge", `${chunk.tokens}/${ROOM}`);
    one.title = `chunk ${number + 1}: ${chunk.tokens} of ${ROOM} tokens`;
    return one;
  }

  /** Return warm colours above 1 and cold ones below, stronger with the distance. */
  function colour(weight) {
    const strength = Math.min(1, 0.35 + Math.abs(Math.log(Math.max(Math.abs(weight), 0.05))));
    return `hsl(${weight > 1 ? 20 : 215} 85% 55% / ${strength.toFixed(2)})`;
  }

  onUiLoaded(() => {
    document.head.append(made("style", "", STYLE));
    setInterval(() => panels.forEach(look), EVERY_MS);
  });
})();
