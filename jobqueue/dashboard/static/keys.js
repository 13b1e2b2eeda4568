// Keys: "g" and a letter go to a page, "j" and "k" move in the first list, Enter opens, "x" selects, "c" copies the id.
(() => {
  "use strict";
  const GO_MS = 1500;
  let goneAt = 0;

  const rows = () => [...document.querySelectorAll("[data-list] > *")].filter((row) => row.querySelector("a[href]"));
  const present = () => document.querySelector("[data-list] > .at");

  function move(step) {
    const all = rows();
    if (!all.length) return;
    const before = present(), at = all.indexOf(before);
    const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    if (before) before.classList.remove("at");
    next.classList.add("at");
    next.querySelector("a[href]").focus();
    next.scrollIntoView({ block: "nearest" });
  }

  function copy(text) {
    if (navigator.clipboard) { navigator.clipboard.writeText(text); return; }
    // Pages that came without TLS have no clipboard.
    const box = document.createElement("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }

  function theme() {
    const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    document.cookie = `jobqueue_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  }

  const KEYS = {
    "/": () => (document.getElementById("query") || document.getElementById("find")).focus(),
    "?": () => document.getElementById("keys").showModal(),
    j: () => move(1),
    k: () => move(-1),
    x: () => { const row = present(), box = row && row.querySelector("input[type=checkbox]"); if (box) box.click(); },
    c: () => { const row = present(), place = (row && row.dataset.id) || document.querySelector("#main [data-id]")?.dataset.id; if (place) copy(place); },
    // On a page of a job, or of jobs that are selected.
    r: () => (document.getElementById("do-requeue") || (document.querySelector(":checked[name=id]") && document.querySelector("#many [value=requeue]")))?.click(),
    ".": () => document.dispatchEvent(new Event("jobqueue:pause")),
    t: theme,
    g: () => { goneAt = Date.now(); },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target;
    if (target.matches("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    if (Date.now() - goneAt < GO_MS && event.key !== "g") {
      goneAt = 0;
      const link = document.querySelector(`.rail a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); return; }
    }
    const action = KEYS[event.key];
    if (action) { event.preventDefault(); action(); }
  });

  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-copy]");
    if (mark) { event.preventDefault(); copy(mark.dataset.copy); }
  });
})();
