// One job: its rollout in time, what it says, and its executions.

import { oneAtATime, operate, part, read } from "./api.js";
import { RolloutChart } from "./chart.js";
import { STATUSES, el, inWords, number, pill, pretty, time } from "./dom.js";
import { confirmDialog } from "./forms.js";
import { executionsTable } from "./lists.js";

const ACTIVE = ["IN_PROGRESS", "SCHEDULED"];

export function jobView({ jobId, go, tell }) {
  const path = `/jobs/${part(jobId)}`;
  const chart = new RolloutChart();
  const status = el("span", {});
  const summary = el("p", { class: "summary" });
  const facts = el("dl", { class: "facts" });
  const documentText = el("pre", {});
  const tableHolder = el("div", { class: "holder" });
  const filter = el("select", { "aria-label": "Status of the executions", onchange: () => showTable() },
    el("option", { value: "" }, "all statuses"), STATUSES.map((each) => el("option", { value: each }, each)));
  const total = el("small", {});
  const asks = (title, words, method, below, force) => () => confirmDialog({
    title, words, verb: title,
    perform: async (comment) => {
      const body = comment ? { comment } : {};
      await operate(method, `${path}${below}${force ? "?force=true" : ""}`, method === "DELETE" ? undefined : body);
      tell(`${title}: done`);
      if (method === "DELETE") go("jobs");
    },
  });
  const cancel = el("button", { type: "button", onclick: asks("CancelJob", `Cancel what ${jobId} has QUEUED. What is IN_PROGRESS goes on.`, "PUT", "/cancel", false) }, "Cancel");
  const force = el("button", { type: "button", class: "danger", onclick: asks("CancelJob force", `Cancel ${jobId} with what is IN_PROGRESS; devices are not told.`, "PUT", "/cancel", true) }, "Cancel by force");
  const remove = el("button", { type: "button", class: "danger", onclick: asks("DeleteJob force", `Delete ${jobId} with all of its executions.`, "DELETE", "", true) }, "Delete");
  let table = null;
  let seen = "";

  function showTable() {
    table?.close();
    const query = filter.value ? { job: jobId, status: filter.value } : { job: jobId };
    table = executionsTable({
      query, first: "thingName", label: `Executions of the job ${jobId}`, isCurrent: () => false,
      open: (row) => go("jobs", jobId, "things", row.thingName),
    });
    table.element.addEventListener("total", (event) => { total.textContent = event.detail; });
    tableHolder.replaceChildren(table.element);
  }

  async function describe() {
    const [{ job }, { document }] = await Promise.all([operate("GET", path), operate("GET", `${path}/job-document`)]);
    const shown = {
      description: job.description,
      targets: job.targets.map((target) => target.split(":").at(-1)).join(", "),
      targetSelection: job.targetSelection,
      createdAt: `${time(job.createdAt)} UTC`,
      completedAt: job.completedAt && `${time(job.completedAt)} UTC`,
      reasonCode: job.reasonCode,
      comment: job.comment,
      jobTemplateArn: job.jobTemplateArn,
      namespaceId: job.namespaceId,
      timeoutConfig: job.timeoutConfig,
      jobExecutionsRolloutConfig: job.jobExecutionsRolloutConfig,
      jobExecutionsRetryConfig: job.jobExecutionsRetryConfig,
      abortConfig: job.abortConfig,
      schedulingConfig: job.schedulingConfig,
    };
    facts.replaceChildren(...Object.entries(shown).filter(([, value]) => isSaid(value)).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, typeof value === "string" ? value : JSON.stringify(value)))));
    documentText.textContent = pretty(document);
  }

  const refresh = oneAtATime(async () => {
    try {
      const { job, ...history } = await read("history", { job: jobId });
      const now = `${job.status} ${job.completedAt}`;
      if (now !== seen) {
        seen = now;
        status.replaceChildren(pill(job.status));
        await describe();
      }
      const isOver = !ACTIVE.includes(job.status);
      const running = job.executions.IN_PROGRESS ?? 0;
      cancel.disabled = isOver;
      force.disabled = isOver && !running && !job.executions.QUEUED;
      const all = Object.values(job.executions).reduce((sum, each) => sum + each, 0);
      summary.textContent = `${number(all)} ${all === 1 ? "execution" : "executions"}: ${inWords(job.executions, job.waiting)}`;
      chart.show(history);
      table.refresh();
    } catch (error) {
      summary.textContent = error.message;
      for (const button of [cancel, force, remove]) button.disabled = true;
    }
  });

  showTable();
  refresh();
  const element = el(
    "div", { class: "pane job" },
    el("header", { class: "title" }, el("a", { class: "back", href: "#/jobs" }, "Jobs"), el("h2", {}, jobId), status,
      el("span", { class: "actions" }, cancel, force, remove)),
    el("div", { class: "body" }, summary, chart.element,
      el("details", {}, el("summary", {}, "The job and its document"), facts, documentText),
      el("header", { class: "subtitle" }, el("h3", {}, "Executions ", total), filter), tableHolder),
  );
  return { element, refresh, close: () => { chart.close(); table.close(); } };
}

function isSaid(value) {
  return value !== undefined && value !== null && value !== "" && JSON.stringify(value) !== "{}";
}
