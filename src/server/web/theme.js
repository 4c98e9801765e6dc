// Says in data-theme whether the page is light or dark: as chosen, else as the system is. Runs before the first paint, so that
// nothing flashes. The switch itself is in app.js.
(() => {
  const system_dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let theme = null;
    try {
      theme = localStorage.getItem("quire.theme");
    } catch {
      // Storage is forbidden: the system's preference holds.
    }
    document.documentElement.dataset.theme = theme === "dark" || theme === "light" ? theme : system_dark.matches ? "dark" : "light";
  };
  apply();
  system_dark.addEventListener("change", apply);
})();
