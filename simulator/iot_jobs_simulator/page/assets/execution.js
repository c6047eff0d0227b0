// One execution: what the service knows of it, and the messages about it.

import { oneAtATime, operate, part, read } from "./api.js";
import { el, number, pill, pretty, time } from "./dom.js";
import { confirmDialog } from "./forms.js";

export function executionView({ jobId, thingName, go, tell }) {
  const path = `/things/${part(thingName)}/jobs/${part(jobId)}`;
  const status = el("span", {});
  const facts = el("dl", { class: "facts" });
  const earlier = el("p", { class: "summary" });
  const messages = el("ol", { class: "messages" });
  const problem = el("p", { class: "summary" });
  const asks = (title, words, query) => () => confirmDialog({
    title, words, verb: title, hasComment: false,
    perform: async () => {
      await operate("PUT", `${path}/cancel${query}`, {});
      tell(`${title}: done`);
    },
  });
  const cancel = el("button", { type: "button", onclick: asks("CancelJobExecution", "Cancel this execution while it is QUEUED.", "") }, "Cancel");
  const force = el("button", { type: "button", class: "danger", onclick: asks("CancelJobExecution force", "Cancel this execution although it may be IN_PROGRESS.", "?force=true") }, "Cancel by force");
  let seen = "";
  let drawn = [];

  async function describe(row) {
    const { execution } = await operate("GET", path);
    const shown = {
      thingArn: execution.thingArn,
      executionNumber: execution.executionNumber,
      versionNumber: execution.versionNumber,
      retryAttempt: row.retryAttempt,
      queuedAt: `${time(execution.queuedAt, 3)} UTC`,
      startedAt: execution.startedAt && `${time(execution.startedAt, 3)} UTC`,
      lastUpdatedAt: `${time(execution.lastUpdatedAt, 3)} UTC`,
      forceCanceled: execution.forceCanceled ? "true" : "",
      approximateSecondsBeforeTimedOut: execution.approximateSecondsBeforeTimedOut,
      ...Object.fromEntries(Object.entries(execution.statusDetails.detailsMap ?? {}).map(([key, value]) => [`statusDetails.${key}`, value])),
    };
    facts.replaceChildren(...Object.entries(shown).filter(([, value]) => value !== undefined && value !== "").map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
  }

  const refresh = oneAtATime(async () => {
    try {
      const found = await read("messages", { thing: thingName, job: jobId });
      problem.textContent = found.executions.length ? "" : `There is no execution of ${jobId} on ${thingName}.`;
      const [row, ...before] = found.executions;
      cancel.disabled = row?.status !== "QUEUED";
      force.disabled = !["QUEUED", "IN_PROGRESS"].includes(row?.status);
      if (row && JSON.stringify(row) !== seen) {
        seen = JSON.stringify(row);
        status.replaceChildren(pill(row.status));
        await describe(row);
      }
      earlier.textContent = before.length ? `Before it: ${before.map((each) => `number ${each.executionNumber} ${each.status}`).join(", ")}` : "";
      showMessages(found.messages);
    } catch (error) {
      problem.textContent = error.message;
    }
  });

  function showMessages(found) {
    const keys = found.map((each) => `${each.at} ${each.topic} ${each.answers.length}`);
    const isLonger = drawn.every((key, at) => key === keys[at]);
    if (!isLonger) messages.replaceChildren();
    messages.append(...found.slice(isLonger ? drawn.length : 0).map(messageItem));
    drawn = keys;
    if (!found.length) messages.replaceChildren(el("li", { class: "empty" }, "No messages are kept about this execution."));
    else messages.querySelector(".empty")?.remove();
  }

  refresh();
  const element = el(
    "div", { class: "pane" },
    el("header", { class: "title" },
      el("a", { class: "back", href: `#/jobs/${part(jobId)}` }, jobId), el("h2", {}, thingName), status,
      el("span", { class: "actions" }, cancel, force)),
    el("div", { class: "body" }, problem, facts, earlier, el("h3", {}, "Messages"), messages),
  );
  return { element, refresh, close() {} };
}

function messageItem(message) {
  const isRequest = message.client !== "";
  const from = isRequest ? `from ${message.client === "HTTP" ? "the device, over HTTP" : message.client}` : "to the thing";
  return el(
    "li", { class: isRequest ? "request" : "notification" },
    said(message, from),
    message.answers.map((answer) => said(answer, "answered", true)),
    isRequest && !message.answers.length ? el("p", { class: "silence" }, "not answered") : null,
  );
}

function said({ at, topic, payload, sizeBytes }, words, isAnswer = false) {
  const shown = sizeBytes > payload.length ? `${payload}…` : pretty(payload);
  return el(
    "details", { class: isAnswer ? "answer" : "" },
    el("summary", {}, el("code", {}, topic), el("span", {}, `${words}, ${number(sizeBytes)} bytes`), el("time", {}, time(at, 3).slice(11))),
    el("pre", {}, shown || "(empty)"),
  );
}
