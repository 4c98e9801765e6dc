// What of the page is seen: chat, live view or both; conversations and settings at the sides; light or dark.

import {by_id, fill, icon} from "./dom.js";

const wide = matchMedia("(min-width: 1180px)");
const narrow = matchMedia("(max-width: 860px)");
const system_dark = matchMedia("(prefers-color-scheme: dark)");

export class Layout {
  constructor(live) {
    this.live = live;
    by_id("open_sidebar").addEventListener("click", () => this.open_sidebar(!this.has_sidebar()));
    by_id("close_sidebar").addEventListener("click", () => this.open_sidebar(false));
    by_id("open_drawer").addEventListener("click", () => this.open_drawer(!this.has_drawer()));
    by_id("close_drawer").addEventListener("click", () => this.open_drawer(false));
    by_id("scrim").addEventListener("click", () => {
      this.open_drawer(false);
      this.open_sidebar(false);
    });
    by_id("theme").addEventListener("click", () => this.switch_theme());
    for (const button of document.querySelectorAll(".views button")) button.addEventListener("click", () => this.show_view(button.dataset.view));
    addEventListener("hashchange", () => this.show_view(location.hash.slice(1) || "chat"));
    system_dark.addEventListener("change", () => this.draw_theme());
    wide.addEventListener("change", () => this.show_view(this.view()));
    narrow.addEventListener("change", () => this.open_sidebar(!narrow.matches));
  }

  begin() {
    this.open_sidebar(!narrow.matches);
    this.draw_theme();
    const asked = location.hash.slice(1);
    this.show_view(["both", "live"].includes(asked) ? asked : "chat");
    // Nothing slides before the page stands.
    requestAnimationFrame(() => requestAnimationFrame(() => document.body.classList.add("standing")));
  }

  view() {
    return document.body.dataset.view;
  }

  show_view(view) {
    const shown = view === "both" && !wide.matches ? "live" : view;
    document.body.dataset.view = shown;
    for (const button of document.querySelectorAll(".views button")) button.setAttribute("aria-pressed", button.dataset.view === shown);
    this.live.set_shown(shown !== "chat");
    if (shown !== "chat" && this.live.status) this.live.draw();
    history.replaceState(null, "", shown === "chat" ? location.pathname : `#${shown}`);
  }

  // Of a narrow screen the conversations cover the chat.
  show_chat() {
    if (this.view() === "live") this.show_view("chat");
    if (narrow.matches) this.open_sidebar(false);
  }

  is_narrow() {
    return narrow.matches;
  }

  has_drawer() {
    return document.body.classList.contains("drawer_open");
  }

  has_sidebar() {
    return document.body.classList.contains("sidebar_open");
  }

  open_drawer(open) {
    by_id("drawer").inert = !open;
    document.body.classList.toggle("drawer_open", open);
    by_id("open_drawer").setAttribute("aria-expanded", open);
    this.draw_scrim();
    if (open) by_id("close_drawer").focus({preventScroll: true});
    else if (document.activeElement === document.body) by_id("open_drawer").focus();
  }

  open_sidebar(open) {
    document.body.classList.toggle("sidebar_open", open);
    by_id("open_sidebar").setAttribute("aria-expanded", open);
    by_id("sidebar").inert = narrow.matches && !open;
    this.draw_scrim();
    if (open && narrow.matches) by_id("close_sidebar").focus();
  }

  // Closes what lies over the chat; false when nothing does.
  close_topmost() {
    if (this.has_drawer()) this.open_drawer(false);
    else if (narrow.matches && this.has_sidebar()) this.open_sidebar(false);
    else return false;
    return true;
  }

  draw_scrim() {
    by_id("scrim").hidden = !(narrow.matches && (this.has_sidebar() || this.has_drawer()));
  }

  is_dark() {
    return document.documentElement.dataset.theme === "dark";
  }

  draw_theme() {
    fill(by_id("theme"), icon(this.is_dark() ? "light" : "dark"));
    by_id("theme").title = this.is_dark() ? "Light" : "Dark";
    this.live.repaint();
  }

  take_theme(theme) {
    document.documentElement.dataset.theme = theme;
    this.draw_theme();
  }

  switch_theme() {
    const theme = this.is_dark() ? "light" : "dark";
    try {
      localStorage.setItem("quire.theme", theme);
    } catch {
      // For this page only.
    }
    this.take_theme(theme);
  }
}
