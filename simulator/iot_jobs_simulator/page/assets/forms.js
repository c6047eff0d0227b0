// The dialogs. Each makes one request, in the API's own words, and shows a refusal in the service's.

import { control, operate, part, read } from "./api.js";
import { el } from "./dom.js";

const ARN = "arn:aws:iot:us-east-1:123456789012:";
const DOCUMENT = { operation: "run-command", params: { command: "echo hello" } };

function openDialog(title, verb, fields, perform, isDanger = false) {
  const dialog = document.getElementById("dialog");
  const problem = el("p", { role: "alert", class: "problem" });
  const go = el("button", { type: "submit", class: isDanger ? "danger" : "primary" }, verb);
  const form = el(
    "form", { onsubmit: submit },
    el("h2", { id: "dialog-title" }, title), fields, problem,
    el("p", { class: "row end" }, el("button", { type: "button", onclick: () => dialog.close() }, "Close"), go),
  );

  async function submit(event) {
    event.preventDefault();
    problem.textContent = "";
    go.disabled = true;
    try {
      await perform();
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      go.disabled = false;
    }
  }

  dialog.replaceChildren(form);
  dialog.showModal();
}

function field(label, input, hint = null) {
  return el("label", {}, el("span", {}, label), input, hint && el("small", {}, hint));
}

/** Ask before something that cannot be taken back. `perform` gets the comment. */
export function confirmDialog({ title, words, verb, perform, hasComment = true }) {
  const comment = el("input", { maxlength: 2028 });
  const isDelete = verb.startsWith("Delete");
  const fields = [el("p", {}, words), hasComment && !isDelete ? field("comment", comment) : null];
  openDialog(title, verb, fields, () => perform(comment.value), true);
}

export function clockDialog(onDone) {
  const seconds = el("input", { type: "number", min: 0, value: 3600, required: true });
  const jumps = { "1 min": 60, "1 h": 3600, "1 d": 86400, "7 d": 604800 };
  const buttons = Object.entries(jumps).map(([words, value]) =>
    el("button", { type: "button", onclick: () => { seconds.value = value; } }, words));
  openDialog("Put the clock forward", "Put forward", [el("p", { class: "row" }, buttons), field("advance_s", seconds, "What becomes due happens, each at its own time.")], async () => {
    onDone((await control("POST", "clock", { advance_s: Number(seconds.value) })).now);
  });
}

export function createThingDialog(onDone) {
  const name = el("input", { required: true, maxlength: 128, pattern: "[a-zA-Z0-9:_\\-]+" });
  openDialog("CreateThing", "Create", [field("thingName", name)], async () => {
    await operate("POST", `/things/${part(name.value)}`, {});
    onDone(name.value);
  });
}

export function createJobDialog(onDone) {
  const id = el("input", { required: true, maxlength: 64, pattern: "[a-zA-Z0-9_\\-]+", value: `job-${Date.now().toString(36)}` });
  const targets = el("textarea", { rows: 2, required: true, placeholder: "thing/lamp", spellcheck: "false" });
  const text = el("textarea", { rows: 7, spellcheck: "false" });
  text.value = JSON.stringify(DOCUMENT, null, 2);
  const template = el("select", { onchange: preview }, el("option", { value: "" }, "no template: the document below"));
  const more = el("textarea", { rows: 3, spellcheck: "false", placeholder: '{"jobExecutionsRolloutConfig": {"maximumPerMinute": 50}}' });
  const shown = el("pre", { class: "command" });
  const parameters = el("textarea", { rows: 2, spellcheck: "false", placeholder: '{"command": "echo"}' });
  const choices = el("p", { class: "row choices" });

  function request() {
    const names = targets.value.split(/[\s,]+/).filter(Boolean);
    const members = { targets: names.map((each) => (each.startsWith("arn:") ? each : ARN + (each.includes("/") ? each : `thing/${each}`))) };
    if (template.value) {
      members.jobTemplateArn = template.value;
      if (parameters.value.trim()) members.documentParameters = object(parameters.value, "documentParameters");
    } else members.document = text.value;
    return { ...members, ...(more.value.trim() ? object(more.value, "Further members") : {}) };
  }

  function preview() {
    let members;
    try {
      members = JSON.stringify({ jobId: id.value, ...request() }, null, 2);
    } catch (error) {
      members = error.message;
    }
    shown.textContent = `aws iot create-job --cli-input-json '${members.replaceAll("'", "'\\''")}'`;
    documentField.hidden = template.value !== "";
    parametersField.hidden = template.value === "";
  }

  function choose(resource) {
    const names = targets.value.split(/[\s,]+/).filter(Boolean);
    targets.value = [...new Set([...names, resource])].join("\n");
    preview();
  }

  const documentField = field("document", text);
  const parametersField = field("documentParameters", parameters, "JSON; for managed templates only");
  const fields = [
    field("jobId", id), field("targets", targets, "thing/NAME, thinggroup/NAME or ARNs, one a line"), choices,
    field("jobTemplateArn", template), documentField, parametersField,
    field("Further members", more, "JSON: targetSelection, jobExecutionsRolloutConfig, abortConfig, timeoutConfig, …"),
    el("details", {}, el("summary", {}, "The same with the AWS CLI"), shown),
  ];
  openDialog("CreateJob", "Create", fields, async () => {
    await operate("PUT", `/jobs/${part(id.value)}`, request());
    onDone(id.value);
  });
  for (const input of [id, targets, text, more, parameters]) input.addEventListener("input", preview);
  preview();
  offer(choices, choose, template);
}

async function offer(choices, choose, template) {
  const [groups, things, own, managed] = await Promise.all([
    read("rows/groups", { count: 4 }), read("rows/things", { count: 6 }),
    operate("GET", "/job-templates"), operate("GET", "/managed-job-templates"),
  ]);
  const names = [...groups.rows.map((each) => `thinggroup/${each.thingGroupName}`), ...things.rows.map((each) => `thing/${each.thingName}`)];
  choices.replaceChildren(...names.map((name) => el("button", { type: "button", onclick: () => choose(name) }, name)));
  template.append(
    ...own.jobTemplates.map((each) => el("option", { value: each.jobTemplateArn }, each.jobTemplateId)),
    ...managed.managedJobTemplates.map((each) => el("option", { value: each.templateArn }, each.templateName)),
  );
}

function object(text, name) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // said below
  }
  throw new Error(`${name} must be a JSON object`);
}
