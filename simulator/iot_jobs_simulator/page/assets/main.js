// The page: which list and which detail are shown, the clock, and what happens when something has changed.

import { control, follow } from "./api.js";
import { el, number, time } from "./dom.js";
import { executionView } from "./execution.js";
import { faultsView } from "./faults.js";
import { clockDialog, createJobDialog, createThingDialog } from "./forms.js";
import { jobView } from "./job.js";
import { executionsTable, groupsTable, jobsTable, thingsTable } from "./lists.js";

const page = { now: null, at: 0, list: null, listName: "", detail: null };
const byId = (id) => document.getElementById(id);
const go = (...parts) => {
  location.hash = `#/${parts.map(encodeURIComponent).join("/")}`;
};

const LISTS = {
  jobs: () => ({
    title: "Jobs",
    action: ["Create a job", () => createJobDialog((id) => go("jobs", id))],
    table: jobsTable({ open: (row) => go("jobs", row.jobId), isCurrent: (row) => row.jobId === route()[1] }),
  }),
  things: () => ({
    title: "Things",
    action: ["Create a thing", () => createThingDialog((name) => go("things", name))],
    table: thingsTable({ open: (row) => go("things", row.thingName), isCurrent: (row) => row.thingName === route()[1] }),
  }),
  groups: () => ({ title: "Thing groups", table: groupsTable({ open: () => {} }) }),
  faults: () => faultsView((faults) => { byId("total-faults").textContent = number(faults.length); }),
};

function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  return parts[0] in LISTS ? parts : ["jobs"];
}

function showRoute() {
  const parts = route();
  if (parts[0] !== page.listName) showList(parts[0]);
  page.detail?.close();
  page.detail = detailOf(parts);
  byId("detail").replaceChildren(page.detail?.element ?? hint(parts[0]));
  document.body.classList.toggle("has-detail", page.detail !== null);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${parts[0]}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${parts.at(-1)} · AWS IoT Jobs simulator`;
  page.list.later?.();
}

function showList(name) {
  page.list?.close();
  const { title, action, table, element } = LISTS[name]();
  page.list = table ?? { refresh() {}, close() {} };
  page.listName = name;
  document.body.dataset.list = name;
  const button = action ? el("button", { type: "button", class: "primary", onclick: action[1] }, action[0]) : null;
  byId("list").replaceChildren(element ?? el("div", { class: "pane" }, el("header", { class: "title" }, el("h1", {}, title), button), table.element));
}

function detailOf([list, name, below, thing]) {
  if (list === "jobs" && name && below === "things" && thing) return executionView({ jobId: name, thingName: thing, go, tell });
  if (list === "jobs" && name) return jobView({ jobId: name, go, tell });
  if (list === "things" && name) return thingView(name);
  return null;
}

function thingView(name) {
  const table = executionsTable({
    query: { thing: name }, first: "jobId", open: (row) => go("jobs", row.jobId, "things", row.thingName),
    isCurrent: () => false, label: `Executions of the thing ${name}`,
  });
  const back = el("a", { class: "back", href: "#/things" }, "Things");
  const element = el("div", { class: "pane" }, el("header", { class: "title" }, back, el("h2", {}, name)), table.element);
  return { element, refresh: () => table.refresh(), close: () => table.close() };
}

function hint(list) {
  const words = { jobs: "Choose a job to see how its rollout goes.", things: "Choose a thing to see its executions." };
  return el("p", { class: "empty" }, words[list] ?? "");
}

/** Say briefly how something went. */
function tell(words, isProblem = false) {
  const notice = byId("notice");
  notice.textContent = words;
  notice.classList.toggle("problem", isProblem);
  clearTimeout(page.notice);
  page.notice = setTimeout(() => { notice.textContent = ""; }, 6000);
}

function onEvent(event) {
  page.now = event.now;
  page.at = performance.now();
  for (const name of ["jobs", "things", "groups"]) byId(`total-${name}`).textContent = number(event[name]);
  showTime();
  page.list?.refresh();
  page.detail?.refresh();
}

function showTime() {
  if (page.now === null) return;
  const now = page.now + (performance.now() - page.at) / 1000;
  byId("time").textContent = `${time(now)} UTC`;
  byId("time").dateTime = new Date(now * 1000).toISOString();
}

function onState(state) {
  byId("live").dataset.state = state;
  byId("live").textContent = state === "on" ? "live" : "not connected";
}

async function countFaults() {
  try {
    byId("total-faults").textContent = number((await control("GET", "faults")).faults.length);
  } catch {
    byId("total-faults").textContent = "";
  }
}

globalThis.addEventListener("hashchange", showRoute);
byId("clock").addEventListener("click", () => clockDialog((now) => tell(`The service's time is ${time(now)} UTC now`)));
setInterval(showTime, 1000);
showRoute();
countFaults();
follow(onEvent, onState);
