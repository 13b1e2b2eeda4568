// Keys: "g" and a letter go to a page, "j" and "k" move in the first list, Enter opens, "x" selects, "c" copies the id.
// "a" goes to the next thing to do: an answer of the row, the coloured button of the page, or the field of its form.
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

  // The page of an action has nothing else to do than its form.
  const FORM = "form[method=post]:is(:not([action]), [action^='#'])";
  const ACTS = [`${FORM} :is(input:not([type=hidden]), select, textarea)`, `${FORM} button`, "a.b.p", ".hd a.b.d", ".hd .r a.b"];

  function act() {
    const row = present(), own = row && row.querySelector("button:not([type=button]), a.b");
    const found = own || ACTS.map((each) => document.querySelector(`#main ${each}`)).find((each) => each);
    if (found) { found.focus(); found.scrollIntoView({ block: "nearest" }); }
  }

  function log() {
    const line = document.getElementById("line"), link = document.getElementById("whole-log");
    if (line) { line.focus(); line.select(); } else if (link) link.click();
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
    a: act,
    // What failed in a batch, and what waits for it.
    f: () => document.getElementById("failed-only")?.click(),
    // The log of a job, and there the number of a line.
    l: log,
    g: () => { goneAt = Date.now(); },
  };

  document.addEventListener("keydown", (event) => {
    // A form is sent from any of its fields, also from one of several lines.
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form && event.target.form.matches(FORM)) {
      event.preventDefault();
      event.target.form.requestSubmit(event.target.form.querySelector("button.p, button.d"));
      return;
    }
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
