// The infotext in a picture's file: PNG text chunks; the user comment of JPEG, WebP and AVIF.

export const MOST_BYTES = 64 * 1024 * 1024;
const MOST_TEXT = 256 * 1024;
const GRAPHS = ["workflow", "prompt"];
const EXIF_POINTER = 0x8769;
const USER_COMMENT = 0x9286;
const GRAPH_TAGS = [0x010e, 0x010f, 0x0110];
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/**
 * Read what a picture says of how it was made.
 * @param {File} file
 * @returns {Promise<{text: string, hasGraph: boolean}>} the infotext, "" where there is none, and whether the
 *   file has a graph of ComfyUI's own. Never rejects: a broken file has nothing.
 */
export async function infotextOf(file) {
  if (file.size > MOST_BYTES) return { text: "", hasGraph: false };
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const found = PNG.every((byte, i) => bytes[i] === byte) ? await ofPng(bytes) : ofExif(exifOf(bytes));
    return { ...found, text: found.text.slice(0, MOST_TEXT) };
  } catch (error) {
    console.warn(`Concord: ${file.name} cannot be read:`, error);
    return { text: "", hasGraph: false };
  }
}

async function ofPng(bytes) {
  const view = new DataView(bytes.buffer);
  const texts = {};
  for (let at = PNG.length; at + 12 <= bytes.length; ) {
    const size = view.getUint32(at);
    const kind = latin(bytes.subarray(at + 4, at + 8));
    if (kind === "IEND" || at + 12 + size > bytes.length) break;
    if (["tEXt", "zTXt", "iTXt"].includes(kind)) {
      const [name, text] = await pngText(kind, bytes.subarray(at + 8, at + 8 + size));
      texts[name] ??= text;
    }
    at += 12 + size;
  }
  if (texts.parameters === undefined) {
    const exif = pngExif(bytes, view);
    if (exif) return ofExif(exif);
  }
  return { text: texts.parameters ?? "", hasGraph: GRAPHS.some((name) => texts[name] !== undefined) };
}

function pngExif(bytes, view) {
  for (let at = PNG.length; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    if (latin(bytes.subarray(at + 4, at + 8)) === "eXIf") return bytes.subarray(at + 8, at + 8 + view.getUint32(at));
  }
  return null;
}

async function pngText(kind, body) {
  const end = body.indexOf(0);
  const name = latin(body.subarray(0, end));
  if (kind === "tEXt") return [name, latin(body.subarray(end + 1))];
  if (kind === "zTXt") return [name, latin(await inflated(body.subarray(end + 2)))];
  const language = body.indexOf(0, end + 3);
  const text = body.subarray(body.indexOf(0, language + 1) + 1);
  return [name, new TextDecoder().decode(body[end + 1] ? await inflated(text) : text)];
}

/** Undo zlib's compression, up to `MOST_TEXT` bytes. */
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const blocks = [];
  let size = 0;
  for (let block = await reader.read(); !block.done && size < MOST_TEXT; block = await reader.read()) {
    blocks.push(block.value);
    size += block.value.length;
  }
  await reader.cancel();
  return new Uint8Array(await new Blob(blocks).arrayBuffer()).subarray(0, MOST_TEXT);
}

/** Return the TIFF block of a JPEG, WebP or AVIF file, or null. */
function exifOf(bytes) {
  const view = new DataView(bytes.buffer);
  if (latin(bytes.subarray(0, 4)) === "RIFF" && latin(bytes.subarray(8, 12)) === "WEBP") {
    for (let at = 12; at + 8 <= bytes.length; ) {
      const size = view.getUint32(at + 4, true);
      if (latin(bytes.subarray(at, at + 4)) === "EXIF") return bytes.subarray(at + 8, at + 8 + size);
      at += 8 + size + (size % 2);
    }
    return null;
  }
  // JPEG's first segments, and wherever AVIF keeps it: "Exif", two zeros, and TIFF's own mark
  const last = bytes[0] === 0xff && bytes[1] === 0xd8 ? Math.min(bytes.length, 1 << 20) : bytes.length;
  for (let at = bytes.indexOf(0x45); at >= 0 && at + 14 < last; at = bytes.indexOf(0x45, at + 1)) {
    if (latin(bytes.subarray(at, at + 6)) === "Exif\0\0" && isTiff(bytes.subarray(at + 6))) return bytes.subarray(at);
  }
  return null;
}

function isTiff(bytes) {
  return ["II*\0", "MM\0*"].includes(latin(bytes.subarray(0, 4)));
}

/** Read a TIFF block, with or without "Exif" before it. */
function ofExif(block) {
  if (!block) return { text: "", hasGraph: false };
  const bytes = isTiff(block) ? block : block.subarray(6);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = bytes[0] === 0x49;
  const first = directory(view, view.getUint32(4, little), little);
  const hasGraph = GRAPH_TAGS.some((tag) => {
    const entry = first.get(tag);
    return entry && /^(workflow|prompt):/i.test(latin(valueOf(bytes, entry, 1).subarray(0, 9)));
  });
  const pointer = first.get(EXIF_POINTER);
  const comment = pointer && directory(view, view.getUint32(pointer.at, little), little).get(USER_COMMENT);
  return { text: comment ? commentText(valueOf(bytes, comment, 1)) : "", hasGraph };

  function valueOf(bytes, entry, width) {
    const size = entry.count * width;
    const start = size <= 4 ? entry.at : view.getUint32(entry.at, little);
    return bytes.subarray(start, start + size);
  }
}

/** Return tag → number of values and where the value, or its place, stands. */
function directory(view, start, little) {
  const tags = new Map();
  const count = view.getUint16(start, little);
  for (let i = 0; i < count; i++) {
    const at = start + 2 + 12 * i;
    tags.set(view.getUint16(at, little), { count: view.getUint32(at + 4, little), at: at + 8 });
  }
  return tags;
}

/** Read a user comment as the core does: UTF-16 in the order that gives more plain characters. */
function commentText(comment) {
  const code = latin(comment.subarray(0, 8));
  const body = comment.subarray(8);
  let text;
  if (code === "UNICODE\0") {
    const plain = (one) => [...one].filter((sign) => sign < "\x7f").length;
    const [high, low] = ["utf-16be", "utf-16le"].map((name) => new TextDecoder(name).decode(body));
    text = plain(high) >= plain(low) ? high : low;
  } else {
    text = new TextDecoder().decode(code === "ASCII\0\0\0" || code === "\0".repeat(8) ? body : comment);
  }
  return text.replace(/^\0+|\0+$/g, "");
}

function latin(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}
