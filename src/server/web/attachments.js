// Text files that go with a message: chosen, dropped or pasted. The model reads each as a fenced block under its name.

import {by_id, el, fill, icon_button} from "./dom.js";

const kMaxFiles = 8;
const kMaxFileBytes = 1 << 20;

// Of a stored message; undefined when there are none.
export function checked_attachments(list) {
  if (!Array.isArray(list)) return undefined;
  const kept = list.filter((file) => typeof file?.name === "string" && typeof file.text === "string").slice(0, kMaxFiles);
  return kept.length ? kept.map(({name, text}) => ({name, text})) : undefined;
}

// The message as the model reads it. A fence is longer than any within the file.
export function with_attachments(node) {
  const blocks = (node.attachments ?? []).map(({name, text}) => {
    const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), (match) => match[0].length));
    const fence = "`".repeat(longest + 1);
    return `${name}:\n${fence}\n${text.replace(/\n$/, "")}\n${fence}`;
  });
  return [...blocks, node.content].filter(Boolean).join("\n\n");
}

const size_of = (text) => (text.length < 1024 ? `${text.length} characters` : `${Math.round(text.length / 1024)} K characters`);

// The files of a message that was sent.
export function attachment_list(node) {
  return (node.attachments ?? []).map(({name, text}) => el("details", {class: "attachment"},
    el("summary", {}, el("b", {}, name), ` ${size_of(text)}`), el("pre", {}, text)));
}

// The files of the message that is being written.
export class Attachments {
  constructor(notice, on_change) {
    this.notice = notice;
    this.on_change = on_change;
    this.files = [];
    this.list = by_id("attachments");
    const input = by_id("attach_files");
    by_id("attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = "";
    });
    const area = by_id("chat");
    const has_files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    area.addEventListener("dragover", (event) => {
      if (has_files(event)) event.preventDefault();
    });
    area.addEventListener("drop", (event) => {
      if (!has_files(event)) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
    by_id("prompt").addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      this.add(files);
    });
  }

  // Takes those that are text; says which are not.
  async add(files) {
    for (const file of files) {
      const text = await text_of(file).catch((error) => {
        this.notice(`${file.name} was not attached: ${error.message}`);
        return null;
      });
      if (text === null) continue;
      if (this.files.length >= kMaxFiles) {
        this.notice(`A message takes ${kMaxFiles} files.`);
        break;
      }
      this.files.push({name: file.name, text});
    }
    this.show();
  }

  clear() {
    this.files = [];
    this.show();
  }

  show() {
    fill(this.list, this.files.map((file) => el("span", {class: "chip"}, el("b", {}, file.name), ` ${size_of(file.text)}`,
      icon_button("close", `Remove ${file.name}`, () => {
        this.files = this.files.filter((other) => other !== file);
        this.show();
      }))));
    this.list.hidden = !this.files.length;
    this.on_change();
  }
}

async function text_of(file) {
  if (file.size > kMaxFileBytes) throw new Error(`it has ${file.size} bytes; at most ${kMaxFileBytes} are read`);
  const bytes = await file.arrayBuffer();
  let text;
  try {
    text = new TextDecoder("utf-8", {fatal: true}).decode(bytes);
  } catch {
    throw new Error("it is not text in UTF-8");
  }
  if (text.includes("\0")) throw new Error("it is not text");
  return text;
}
