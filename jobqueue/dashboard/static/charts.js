// Zooms into a chart: dragging over it goes to the address of the page for the dragged time.
(() => {
  "use strict";
  const NS = "http://www.w3.org/2000/svg", LEAST_PX = 6, HEIGHT = 128;
  let chart = null, mark = null, begin = 0, dragged = false;

  const part = (event) => {
    const box = chart.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };

  const wire = (place) => {
    const from = Number(chart.dataset.from), to = Number(chart.dataset.to);
    return new Date(Math.round((from + (to - from) * place) / 60) * 60000).toISOString().replace(":00.000Z", ":00Z");
  };

  document.addEventListener("pointerdown", (event) => {
    chart = event.button === 0 && event.pointerType === "mouse" ? event.target.closest("svg[data-from]") : null;
    dragged = false;
    if (chart) begin = part(event);
  });

  document.addEventListener("pointermove", (event) => {
    if (!chart) return;
    const now = part(event), wide = chart.viewBox.baseVal.width;
    if (!mark && Math.abs(now - begin) * chart.clientWidth < LEAST_PX) return;
    if (!mark) {
      mark = document.createElementNS(NS, "rect");
      mark.setAttribute("class", "f accent");
      mark.setAttribute("fill-opacity", "0.2");
      mark.setAttribute("height", HEIGHT);
      chart.append(mark);
    }
    mark.setAttribute("x", Math.min(begin, now) * wide);
    mark.setAttribute("width", Math.abs(now - begin) * wide);
  });

  document.addEventListener("pointerup", (event) => {
    if (chart && mark) {
      dragged = true;
      const [from, to] = [begin, part(event)].sort((one, other) => one - other).map(wire);
      if (from !== to) {
        const target = new URL(location.href);
        target.searchParams.delete("window");
        target.searchParams.set("from", from);
        target.searchParams.set("to", to);
        location.assign(target);
      }
      mark.remove();
    }
    chart = mark = null;
  });

  // A press moves no focus to the link below it.
  document.addEventListener("mousedown", (event) => { if (event.target.closest("svg[data-from]")) event.preventDefault(); });

  // The end of a drag is no click on the link below it, and links are not dragged themselves.
  document.addEventListener("click", (event) => { if (dragged && event.target.closest("svg[data-from]")) event.preventDefault(); dragged = false; }, true);
  document.addEventListener("dragstart", (event) => { if (event.target.closest("svg[data-from]")) event.preventDefault(); });
})();
