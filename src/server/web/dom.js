// Elements without innerHTML: text that comes from a model or a server only ever becomes text nodes.

const kSvg = "http://www.w3.org/2000/svg";

const kIcons = {
  menu: "M4 7h16M4 12h16M4 17h10",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h10v11H9zM5 15V4h10",
  done: "M5 12.5l4.5 4.5L19 7.5",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  go_on: "M4 12h12M11 7l5 5-5 5M20 6v12",
  edit: "M5 19l1-4L16.5 4.5l3 3L9 18z",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13",
  sliders: "M5 7h8M17 7h2M5 12h2M11 12h8M5 17h6M15 17h4M15 5v4M9 10v4M13 15v4",
  close: "M6 6l12 12M18 6L6 18",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  attach: "M8 12.5l6.2-6.2a3 3 0 0 1 4.3 4.3l-8 8a5 5 0 0 1-7-7L11 4",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  key: "M14.5 9.5a4 4 0 1 0-3.6 4L13 15.5h2.5V18H18v2.5h3V17l-6.8-6.6",
  code: "M9 8l-4 4 4 4M15 8l4 4-4 4",
  save: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  open: "M12 16V5M7 9.5l5-5 5 5M5 20h14",
};

// el("button", {class: "icon", onclick: f, "aria-label": "Send"}, child, "text")
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(kSvg, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

export function icon(name) {
  return svg("svg", {viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true"}, svg("path", {d: kIcons[name]}));
}

// The mark: folded sheets on the sewing saddle, seen from the end, and the thread through the fold; also a choir's arches.
export function mark() {
  return svg("svg", {viewBox: "3 4 26 23", class: "mark", "aria-hidden": "true"},
    svg("path", {d: "M5 25c1-9 5-14 11-17 6 3 10 8 11 17"}),
    svg("path", {d: "M10 25c.6-6 2.6-9.4 6-11.6 3.4 2.2 5.4 5.6 6 11.6"}),
    svg("path", {d: "M14.2 25c.2-2.6.8-4.4 1.8-5.6 1 1.2 1.6 3 1.8 5.6"}),
    svg("path", {d: "M16 5.5V14", class: "thread"}));
}

export function icon_button(icon_name, label, onclick, extra = {}) {
  return el("button", {type: "button", class: "quiet", "aria-label": label, title: label, onclick, ...extra}, icon(icon_name));
}

export const by_id = (id) => document.getElementById(id);

export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return parent;
}

// Copies and lets the button say so for a moment.
export async function copy_text(text, button) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copied = copy_by_selection(text);
  }
  announce(copied ? "Copied." : "The browser did not allow copying.");
  if (!button || !copied) return;
  const before = [...button.childNodes];
  button.replaceChildren(icon("done"));
  setTimeout(() => button.replaceChildren(...before), 1200);
}

// The clipboard interface exists only in secure contexts; a server on a plain address needs the old way.
function copy_by_selection(text) {
  const area = el("textarea", {class: "unseen", "aria-hidden": "true", value: text});
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

// Says it to a screen reader.
export function announce(text) {
  by_id("announcer").textContent = text;
}
