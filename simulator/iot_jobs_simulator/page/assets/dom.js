// Elements without HTML strings: whatever a device or an operator wrote can only become text.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, `on…` listeners and children; text becomes text nodes, null is left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Statuses of executions, as a rollout piles them up: what has ended at the bottom. */
export const STATUSES = [
  "SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED", "IN_PROGRESS", "QUEUED",
];

/** A status, in words and with its color. */
export function pill(status) {
  return el("span", { class: `pill ${status}` }, status);
}

/** Show a status in a cell that is used again and again. */
export function setPill(cell, status) {
  const shown = cell.firstElementChild ?? cell.appendChild(pill(status));
  shown.className = `pill ${status}`;
  shown.textContent = status;
}

/** Show the shares of the statuses as a bar, in a cell that is used again and again. */
export function setBar(cell, counts, waiting = 0) {
  if (!cell.firstElementChild) {
    cell.append(el("span", { class: "share", role: "img" }, [...STATUSES, "WAITING"].map((each) => el("i", { class: each }))));
  }
  const bar = cell.firstElementChild;
  [...STATUSES, "WAITING"].forEach((status, at) => {
    const count = status === "WAITING" ? waiting : (counts[status] ?? 0);
    bar.children[at].style.flexGrow = count;
    bar.children[at].hidden = count === 0;
  });
  bar.setAttribute("aria-label", inWords(counts, waiting));
  bar.title = inWords(counts, waiting);
}

/** The counts of a job in words. */
export function inWords(counts, waiting = 0) {
  const said = STATUSES.filter((each) => counts[each]).map((each) => `${number(counts[each])} ${each}`);
  if (waiting) said.push(`${number(waiting)} still to be queued`);
  return said.join(", ") || "no executions";
}

export function number(value) {
  return Number(value).toLocaleString("en");
}

/** Seconds since the epoch, in UTC. */
export function time(seconds, digits = 0) {
  if (seconds === undefined || seconds === null) return "";
  const text = new Date(seconds * 1000).toISOString().replace("T", " ");
  return text.slice(0, digits ? 20 + digits : 19);
}

/** A length of time, to two figures or so. */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds < 10 ? Math.round(10 * seconds) / 10 : Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** JSON with indentation, if it is JSON, else the text as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
