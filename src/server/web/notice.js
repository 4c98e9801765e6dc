// A line at the top of the page that goes away by itself.

import {by_id, el, fill} from "./dom.js";

const kNoticeMs = 7000;
const kUndoMs = 12000;

let timer = 0;

// `undo`, if there is something to take back: offered as long as the notice stands.
export function notice(text, undo) {
  const box = by_id("notice");
  const hide = () => (box.hidden = true);
  const take_back = () => {
    hide();
    undo();
    by_id("prompt").focus();
  };
  fill(box, el("span", {}, text), undo && el("button", {type: "button", "data-action": "undo", onclick: take_back}, "Undo"));
  box.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, undo ? kUndoMs : kNoticeMs);
}
