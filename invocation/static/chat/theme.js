/** Light or dark: the system's wish unless the reader chose. Classic script, so that the first paint is already right. */
(() => {
  const KEPT = "gearbox.theme";
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  const chosen = () => {
    try {
      return localStorage.getItem(KEPT);
    } catch {
      return null;
    }
  };
  const keep = (theme) => {
    try {
      localStorage.setItem(KEPT, theme);
    } catch {
      // A browser that keeps nothing still shows the theme until the page is left.
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  const show = (button) => button.setAttribute("aria-pressed", String(isDark()));

  const turnOver = (button) => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep(root.dataset.theme);
    show(button);
  };

  const theme = chosen();
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    show(button);
    button.addEventListener("click", () => turnOver(button));
    system.addEventListener("change", () => show(button));
  });
})();
