// Runs before the first paint, so that a chosen theme never flashes. The switch itself is in app.js.
(() => {
  try {
    const theme = localStorage.getItem("quire.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is forbidden: the system's preference holds.
  }
})();
