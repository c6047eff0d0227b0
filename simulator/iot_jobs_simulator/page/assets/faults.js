// Faults on demand, and the broker, by the control endpoints.

import { control } from "./api.js";
import { el, number } from "./dom.js";

const EXAMPLES = {
  lose: { kind: "lose", what: "reply", operation: "UpdateJobExecution", times: 1 },
  delay: { kind: "delay", what: "notification", delay_ms: 3000 },
  duplicate: { kind: "duplicate", operation: "notify-next", copies: 2 },
  reject: { kind: "reject", operation: "UpdateJobExecution", code: "VersionMismatch", times: 3 },
  throttle: { kind: "throttle", listener: "mqtt", per_second: 1 },
  silence: { kind: "silence", operation: "GetPendingJobExecutions" },
  crash: { kind: "crash", times: 1 },
  "empty-next": { kind: "empty-next", for_ms: 500 },
  "delay-rollout": { kind: "delay-rollout", delay_ms: 2000 },
  "close-on-connect": { kind: "close-on-connect" },
  disconnect: { kind: "disconnect", packet: "PUBLISH", direction: "out", times: 1 },
  "drop-packet": { kind: "drop-packet", packet: "PUBACK" },
};

export function faultsView(onFaults) {
  const list = el("ul", { class: "faults" });
  const problem = el("p", { role: "alert", class: "problem" });
  const text = el("textarea", { rows: 5, "aria-label": "The fault, as JSON", spellcheck: "false" });
  const kind = el("select", { "aria-label": "Kind of the fault", onchange: () => example() }, Object.keys(EXAMPLES).map((each) => el("option", {}, each)));

  function example() {
    text.value = JSON.stringify(EXAMPLES[kind.value], null, 2);
  }

  async function act(method, name, body) {
    problem.textContent = "";
    try {
      await control(method, name, body);
    } catch (error) {
      problem.textContent = error.message;
    }
    await show();
  }

  async function show() {
    const { faults } = await control("GET", "faults");
    onFaults(faults);
    list.replaceChildren(...faults.map((fault) => {
      const { number: id, seen, done, ...rest } = fault;
      const clear = el("button", { type: "button", "aria-label": `Clear fault ${id}`, onclick: () => act("DELETE", `faults/${id}`) }, "Clear");
      return el("li", {}, el("code", {}, JSON.stringify(rest)), el("small", {}, `seen ${number(seen ?? 0)}, done ${number(done ?? 0)}`), clear);
    }));
    if (!faults.length) list.replaceChildren(el("li", { class: "empty" }, "No fault is switched on."));
  }

  function add() {
    try {
      act("POST", "faults", JSON.parse(text.value));
    } catch (error) {
      problem.textContent = `The fault is not JSON: ${error.message}`;
    }
  }

  example();
  show();
  const broker = (action, words) => el("button", { type: "button", onclick: () => act("POST", "broker", { action }) }, words);
  const element = el(
    "div", { class: "pane" },
    el("header", { class: "title" }, el("h1", {}, "Faults")),
    el("div", { class: "body" }, list, problem,
      el("p", { class: "row" }, el("button", { type: "button", onclick: () => show() }, "Count again"), el("button", { type: "button", onclick: () => act("DELETE", "faults") }, "Clear all")),
      el("h3", {}, "Switch one on"), el("p", { class: "row" }, kind, el("button", { type: "button", class: "primary", onclick: add }, "Switch on")), text,
      el("h3", {}, "The broker"),
      el("p", { class: "row" }, broker("stop", "Stop"), broker("start", "Start"), broker("restart", "Restart"))),
  );
  return { title: "Faults", element };
}
