// Conversations as files.

import {el} from "./dom.js";
import {parts, path} from "./store.js";

export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  el("a", {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// The chosen branch, for people: the answers' own Markdown under a heading for each message.
export function conversation_markdown(conversation) {
  const {title, system} = conversation;
  const sections = [`# ${title || "Untitled"}`];
  if (system.trim()) sections.push("## System", system.trim());
  for (const node of path(conversation)) {
    const text = node.role === "user" ? node.content : parts(node).answer;
    sections.push(node.role === "user" ? "## You" : `## ${node.model || "Answer"}`, text.trim() || "(empty)");
  }
  return `${sections.join("\n\n")}\n`;
}

export function file_name(conversation) {
  const words = conversation.title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${words || "conversation"}.md`;
}
