// Keeps the page up to date: one stream of events while the page is visible, and none while it is hidden. An event only
// says that something has changed. The page then fetches its inner part again, at most once a second.
(() => {
  "use strict";
  const AGAIN_MS = 1000, TICK_MS = 10000, UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const KINDS = ["inserted", "ready", "started", "progress", "step", "delayed", "suspended", "signal", "ended", "killed", "gap"];
  const main = document.getElementById("main"), badge = document.getElementById("live");
  const address = main.dataset.events;
  let stream = null, paused = false, tag = "", waiting = 0, busy = false, again = false, hasRested = false, freshAt = new Date();

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !/(^|; )jobqueue_zone=/.test(document.cookie)) {
    document.cookie = `jobqueue_zone=${zone}; path=/; max-age=31536000; samesite=lax`;
    if (zone !== "UTC" && address !== undefined) refresh();
  }

  // What the visitor has opened or selected stays as it is, and so does the mark of the row the keys are at.
  const KEPT = ["open", "checked", "aria-expanded"];
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(KEPT.includes(name) || (name === "class" && node.matches("[data-list] > .at")));
  Idiomorph.defaults.ignoreActiveValue = true;

  // A second click sends nothing: behind a proxy it could reach another server than the first.
  const sentAt = new Map();
  document.addEventListener("submit", (event) => {
    const key = event.target.elements.key;
    if (!key) return;
    if (Date.now() - (sentAt.get(key.value) || 0) < TICK_MS) event.preventDefault();
    else sentAt.set(key.value, Date.now());
  });

  function coarse(seconds) {
    const unit = UNITS.find(([size]) => seconds >= size);
    return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : "0 s";
  }

  function tellTimes() {
    const now = Date.now();
    for (const mark of document.querySelectorAll("time[data-t]")) {
      const seconds = (now - Date.parse(mark.dateTime)) / 1000;
      let text = coarse(Math.abs(seconds));
      if (mark.dataset.t === "r") text = Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `${text} ago` : `in ${text}`;
      if (mark.textContent !== text) mark.textContent = text;
    }
  }

  function show(text, kind) {
    badge.textContent = text;
    badge.dataset.state = kind;
  }

  function refresh() {
    if (waiting) return;
    if (busy) { again = true; return; }
    waiting = setTimeout(() => {
      waiting = 0;
      if (document.hidden || paused) { again = true; return; }
      busy = true;
      htmx.trigger(main, "refresh");
    }, Math.min(AGAIN_MS, freshAt.getTime() + AGAIN_MS - Date.now()));
  }

  function open() {
    if (stream || paused || document.hidden) return;
    stream = new EventSource(address);
    for (const kind of KINDS) stream.addEventListener(kind, refresh);
    stream.onopen = () => show("live", "live");
    // What happened while nobody looked; a page that has just come is fresh.
    if (hasRested) refresh();
    hasRested = true;
    stream.onerror = () => show(`stale since ${freshAt.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`, "stale");
  }

  function close() {
    if (stream) stream.close();
    stream = null;
  }

  function toggle() {
    paused = !paused;
    if (paused) { close(); show("paused", "paused"); } else { again = false; open(); }
  }

  setInterval(tellTimes, 1000);
  if (address === undefined) return;
  badge.hidden = false;
  badge.addEventListener("click", toggle);
  document.addEventListener("jobqueue:pause", toggle);
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  main.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers.Accept = "text/html";
    if (event.target === main && tag) event.detail.headers["If-None-Match"] = tag;
  });
  main.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== main) return;
    if (event.detail.xhr.status === 304) event.detail.shouldSwap = false;
    else if (event.detail.xhr.status === 200) tag = event.detail.xhr.getResponseHeader("ETag") || "";
  });
  main.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.target !== main) return;
    busy = false;
    freshAt = new Date();
    if (again) { again = false; refresh(); }
  });
  main.addEventListener("htmx:afterSwap", tellTimes);
  setInterval(() => {
    if (document.hidden || paused) return;
    // A browser gives up after a reply that is no stream, such as one of a server that has too many readers.
    if (stream && stream.readyState === EventSource.CLOSED) { close(); open(); } else refresh();
  }, TICK_MS);
  open();
})();
