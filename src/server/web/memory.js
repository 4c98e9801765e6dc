// What this tab remembers over a reload, as far as the browser allows; otherwise until the page closes.

const without_browser = new Map();

export function remember(name, value) {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    without_browser.set(name, value);
  }
}

// "" when there is nothing.
export function remembered(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return without_browser.get(name) ?? "";
  }
}
