"use strict";
(() => {
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const cells = all("details.cell");
  const filter = document.getElementById("filter");
  const filtered = document.getElementById("filtered");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const reveal = (element) => {
    for (let at = element; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
    }
    element.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
  };

  const show = (cell) => {
    reveal(cell);
    cell.querySelector("summary").focus({ preventScroll: true });
    history.replaceState(null, "", "#" + cell.id);
  };

  const followLink = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) reveal(target);
  };

  const step = (by) => {
    const failing = cells.filter((cell) => "attention" in cell.dataset && !cell.hidden);
    if (failing.length === 0) return;
    const here = failing.findIndex((cell) => cell.contains(document.activeElement));
    const next = here < 0 ? (by > 0 ? 0 : failing.length - 1) : (here + by + failing.length) % failing.length;
    show(failing[next]);
  };

  const apply = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const cell of cells) {
      cell.hidden = !wanted.every((word) => cell.dataset.search.includes(word));
      if (!cell.hidden) shown += 1;
    }
    if (wanted.length > 0) all("#controls > details, #passing > details").forEach((group) => (group.open = true));
    filtered.textContent = wanted.length > 0 ? shown + " of " + cells.length + " cells" : "";
  };

  const copy = (code) => {
    const said = () => {
      code.dataset.copied = "";
      setTimeout(() => delete code.dataset.copied, 1500);
    };
    const select = () => getSelection().selectAllChildren(code);
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(said, select);
    else select();
  };

  for (const code of all("code.copy")) {
    code.tabIndex = 0;
    code.setAttribute("role", "button");
    code.title = "copy";
    code.addEventListener("click", () => copy(code));
    code.addEventListener("keydown", (event) => {
      if (event.key === "Enter") copy(code);
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === filter) {
      if (event.key === "Escape") {
        filter.value = "";
        apply();
        filter.blur();
      }
      return;
    }
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") {
      event.preventDefault();
      filter.focus();
    }
  });

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  filter.addEventListener("input", apply);
  document.querySelector(".tools").hidden = false;
  addEventListener("hashchange", followLink);
  followLink();
})();
