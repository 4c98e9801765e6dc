// The field where messages are written. Its text stays until it was sent, over reloads too.

import {Attachments} from "./attachments.js";
import {by_id} from "./dom.js";
import {remember, remembered} from "./memory.js";

const kDraftName = "quire.draft";

export class Composer {
  constructor(chat, notice) {
    this.chat = chat;
    this.area = by_id("prompt");
    this.attachments = new Attachments(notice, () => this.changed());
    this.area.value = remembered(kDraftName);
    this.area.addEventListener("input", () => this.changed());
    this.area.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a candidate (229 is what Safari reports for it).
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.send();
    });
    by_id("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    by_id("stop").addEventListener("click", () => chat.stop() && this.focus());
    this.changed();
  }

  focus() {
    this.area.focus();
  }

  send() {
    if (!this.chat.send(this.area.value, this.attachments.files)) return;
    this.attachments.clear();
    this.area.value = "";
    this.changed();
  }

  changed() {
    const {area} = this;
    remember(kDraftName, area.value);
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, innerHeight * 0.4)}px`;
    by_id("send").disabled = !area.value.trim() && !this.attachments?.files.length;
  }
}
