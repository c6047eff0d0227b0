// A job's rollout in time: how many executions had which status when, piled up.

import { STATUSES, duration, el, inWords, number, svg, time } from "./dom.js";

const HEIGHT = 190;
const LEFT = 52;
const BOTTOM = 22;
const TOP = 8;
const RIGHT = 24;
// Between two marks of the time axis, in seconds.
const PAUSES = [
  0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800,
  3600, 7200, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000,
];

export class RolloutChart {
  constructor() {
    this.drawing = svg("svg", { class: "chart", role: "img", height: HEIGHT });
    this.legend = el("ul", { class: "legend" });
    this.reading = el("p", { class: "reading" });
    this.element = el("figure", { class: "rollout" }, this.drawing, el("figcaption", {}, this.reading, this.legend));
    this.drawing.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.drawing.addEventListener("pointerleave", () => this.point(null));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
  }

  /** Show `{begin, end, executions: {STATUS: [counts]}}`. */
  show(history) {
    this.history = history;
    this.statuses = STATUSES.filter((each) => history.executions[each]);
    this.points = Math.max(0, ...Object.values(history.executions).map((counts) => counts.length));
    this.draw();
  }

  draw() {
    if (!this.history) return;
    this.width = Math.max(240, this.element.clientWidth);
    this.drawing.setAttribute("width", this.width);
    const piles = this.pile();
    this.highest = Math.max(1, ...(piles.at(-1)?.top ?? []));
    const parts = [...this.grid(), ...piles.map((each) => this.area(each))];
    this.hair = svg("line", { class: "hair", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.drawing.replaceChildren(...parts, this.hair);
    this.point(null);
  }

  pile() {
    let below = new Array(this.points).fill(0);
    return this.statuses.map((status) => {
      const top = this.history.executions[status].map((count, at) => count + below[at]);
      const pile = { status, below, top };
      below = top;
      return pile;
    });
  }

  x(at) {
    return LEFT + (at / Math.max(1, this.points - 1)) * (this.width - LEFT - RIGHT);
  }

  y(count) {
    return HEIGHT - BOTTOM - (count / this.highest) * (HEIGHT - BOTTOM - TOP);
  }

  area({ status, below, top }) {
    const spot = (count, at) => `${this.x(at).toFixed(1)},${this.y(count).toFixed(1)}`;
    const upper = top.map(spot);
    const lower = below.map(spot).reverse();
    return svg("polygon", { class: `area ${status}`, points: [...upper, ...lower].join(" ") });
  }

  * grid() {
    const step = niceStep(this.highest / 4);
    for (let count = 0; count <= this.highest; count += step) {
      const y = this.y(count);
      yield svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y });
      yield svg("text", { class: "label", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, number(count));
    }
    const long = this.history.end - this.history.begin;
    const pause = PAUSES.find((each) => each * (this.width < 480 ? 3 : 6) >= long) ?? long / 4;
    for (let after = 0; after <= long; after += pause) {
      const x = this.x(((this.points - 1) * after) / long);
      const words = after === 0 ? "created" : `+${duration(after)}`;
      yield svg("text", { class: "label", x, y: HEIGHT - 5, "text-anchor": after === 0 ? "start" : "middle" }, words);
    }
  }

  point(x) {
    if (!this.history || !this.points) {
      this.reading.textContent = "No execution has been queued yet.";
      this.legend.replaceChildren();
      return;
    }
    const last = this.points - 1;
    const share = x === null ? 1 : (x - LEFT) / (this.width - LEFT - RIGHT);
    const at = Math.max(0, Math.min(last, Math.round(share * last)));
    const { begin, end, executions } = this.history;
    const counts = Object.fromEntries(this.statuses.map((each) => [each, executions[each][at]]));
    this.hair.setAttribute("visibility", x === null ? "hidden" : "visible");
    this.hair.setAttribute("x1", this.x(at));
    this.hair.setAttribute("x2", this.x(at));
    const moment = begin + ((end - begin) * at) / last;
    this.reading.textContent = `${time(moment)} UTC, ${duration(moment - begin)} after its creation`;
    this.legend.replaceChildren(...this.statuses.map((each) =>
      el("li", {}, el("i", { class: each }), `${each} `, el("b", {}, number(counts[each])))));
    if (x === null) {
      this.drawing.setAttribute("aria-label", `The rollout, ${duration(end - begin)} long. At its end: ${inWords(counts)}`);
    }
  }
}

/** A round step that is at least as large: 1, 2 or 5 times a power of ten, and never a fraction. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least) ?? 10 * power;
}
