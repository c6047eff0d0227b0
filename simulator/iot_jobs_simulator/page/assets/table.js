// A list of any length, of which only the rows in view are drawn and only their blocks are fetched.

import { el, number } from "./dom.js";

const ROW = 36; // pixels, as in page.css
const BLOCK = 100; // rows to a request
const AROUND = 6; // rows drawn above and below those in view

let tables = 0;

export class VirtualTable {
  /**
   * `columns` have `title`, `width` (of CSS grid), `set(cell, row)`, and `isWide` if a phone leaves them out.
   * `fetchRows(first, count)` gives `{total, rows}`; `open(row)` is what Enter and a click do.
   */
  constructor({ label, columns, fetchRows, open, isCurrent = () => false, empty = "Nothing here yet." }) {
    Object.assign(this, { columns, fetchRows, open, isCurrent, empty });
    this.id = `table-${(tables += 1)}`;
    this.total = null;
    this.blocks = new Map();
    this.asked = new Map(); // blocks under way, and whether they have to be asked for again
    this.drawn = new Map();
    this.free = [];
    this.active = 0;
    this.version = 0;
    this.build(label);
  }

  build(label) {
    const head = this.columns.map((column, at) =>
      el("span", { role: "columnheader", "aria-colindex": at + 1, class: column.isWide ? "wide" : "" }, column.title));
    this.space = el("div", { class: "space", role: "rowgroup" });
    this.message = el("p", { class: "empty", hidden: true }, this.empty);
    this.scroll = el("div", { class: "scroll", role: "presentation", tabindex: -1 }, this.space, this.message);
    this.element = el(
      "div",
      { class: "table", role: "grid", tabindex: 0, "aria-label": label, "aria-colcount": this.columns.length, "aria-busy": true },
      el("div", { role: "rowgroup", class: "head" }, el("div", { role: "row", "aria-rowindex": 1 }, head)),
      this.scroll,
    );
    const widths = (columns) => columns.map((column) => column.width).join(" ");
    this.element.style.setProperty("--columns", widths(this.columns));
    this.element.style.setProperty("--few-columns", widths(this.columns.filter((column) => !column.isWide)));
    this.scroll.addEventListener("scroll", () => this.later(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.space.addEventListener("click", (event) => this.onClick(event));
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(this.scroll);
    this.refresh();
  }

  /** Stop drawing. */
  close() {
    this.observer.disconnect();
    this.isClosed = true;
  }

  /** Ask again for what is in view, because something has changed. */
  refresh() {
    this.version += 1;
    this.later();
  }

  /** Begin anew, as for another filter. */
  restart() {
    this.blocks.clear();
    this.total = null;
    this.active = 0;
    this.scroll.scrollTop = 0;
    this.refresh();
  }

  later() {
    if (this.isWaiting || this.isClosed) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      if (!this.isClosed) this.draw();
    });
  }

  range() {
    const first = Math.floor(this.scroll.scrollTop / ROW) - AROUND;
    const last = Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / ROW) + AROUND;
    return [Math.max(0, first), Math.min(this.total ?? 0, last)];
  }

  draw() {
    const [first, last] = this.range();
    for (const [at, row] of this.drawn) {
      if (at < first || at >= last) {
        this.drawn.delete(at);
        this.free.push(row);
      }
    }
    for (let at = first; at < last; at += 1) this.drawRow(at);
    for (const row of this.free) row.hidden = true;
    this.fetchBlocks(first, last);
  }

  drawRow(at) {
    let row = this.drawn.get(at);
    const isNew = row === undefined;
    if (isNew) {
      row = this.free.pop() ?? this.space.appendChild(this.newRow());
      row.hidden = false;
      row.id = `${this.id}-${at}`;
      row.style.transform = `translateY(${at * ROW}px)`;
      row.setAttribute("aria-rowindex", at + 2);
      this.drawn.set(at, row);
    }
    const data = this.rowAt(at);
    if (isNew || row.data !== data) {
      row.data = data;
      row.classList.toggle("loading", data === undefined);
      if (data !== undefined) this.columns.forEach((column, index) => column.set(row.children[index], data));
    }
    row.classList.toggle("active", at === this.active);
    row.setAttribute("aria-selected", data !== undefined && this.isCurrent(data));
  }

  newRow() {
    return el("div", { role: "row" }, this.columns.map((column, at) =>
      el("span", { role: "gridcell", "aria-colindex": at + 1, class: column.isWide ? "wide" : "" })));
  }

  rowAt(at) {
    return this.blocks.get(Math.floor(at / BLOCK))?.rows[at % BLOCK];
  }

  fetchBlocks(first, last) {
    const begin = Math.floor(first / BLOCK);
    const end = Math.max(begin, Math.floor(Math.max(0, last - 1) / BLOCK));
    for (const block of this.blocks.keys()) {
      if (block < begin - 1 || block > end + 1) this.blocks.delete(block);
    }
    for (let block = begin; block <= end; block += 1) {
      if (this.blocks.get(block)?.version !== this.version && !this.asked.has(block)) this.fetchBlock(block);
    }
  }

  async fetchBlock(block) {
    const version = this.version;
    this.asked.set(block, version);
    try {
      const { total, rows } = await this.fetchRows(block * BLOCK, BLOCK);
      this.blocks.set(block, { rows, version });
      this.setTotal(total);
    } catch (error) {
      this.blocks.set(block, { rows: [], version });
      this.setTotal(0, error.message);
    } finally {
      this.asked.delete(block);
      this.later();
    }
  }

  setTotal(total, problem = "") {
    this.total = total;
    this.active = Math.min(this.active, Math.max(0, total - 1));
    this.space.style.height = `${total * ROW}px`;
    this.message.hidden = total > 0;
    this.message.textContent = problem || this.empty;
    this.element.setAttribute("aria-rowcount", total + 1);
    this.element.removeAttribute("aria-busy");
    this.element.dispatchEvent(new CustomEvent("total", { detail: number(total) }));
    this.mark();
  }

  onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / ROW) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) this.move(this.active + moves[event.key]);
    else if (event.key === "Enter" && this.rowAt(this.active)) this.open(this.rowAt(this.active));
    else return;
    event.preventDefault();
  }

  move(at) {
    this.active = Math.max(0, Math.min((this.total ?? 1) - 1, at));
    const top = this.active * ROW;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    const below = top + ROW - this.scroll.clientHeight;
    if (below > this.scroll.scrollTop) this.scroll.scrollTop = below;
    this.draw();
    this.mark();
  }

  mark() {
    if (this.total) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  onClick(event) {
    const row = event.target.closest("[role=row]");
    if (row === null || row.data === undefined) return;
    this.active = Number(row.getAttribute("aria-rowindex")) - 2;
    this.mark();
    this.draw();
    this.open(row.data);
  }
}
