// The four lists, with their columns.

import { read } from "./api.js";
import { number, setBar, setPill, time } from "./dom.js";
import { VirtualTable } from "./table.js";

const text = (value) => (cell, row) => { cell.textContent = value(row); };
const rowsOf = (kind, query = {}) => (first, count) => read(`rows/${kind}`, { ...query, first, count });

export function jobsTable({ open, isCurrent }) {
  return new VirtualTable({
    label: "Jobs, the newest first",
    open, isCurrent,
    fetchRows: rowsOf("jobs"),
    empty: "No jobs yet. Create one here, or with boto3 or the AWS CLI.",
    columns: [
      { title: "jobId", width: "minmax(9rem, 2fr)", set: text((row) => row.jobId) },
      { title: "status", width: "7.9rem", set: (cell, row) => setPill(cell, row.status) },
      { title: "executions", width: "minmax(3rem, 1fr)", set: (cell, row) => setBar(cell, row.executions, row.waiting) },
    ],
  });
}

export function thingsTable({ open, isCurrent }) {
  return new VirtualTable({
    label: "Things, by name",
    open, isCurrent,
    fetchRows: rowsOf("things"),
    empty: "No things yet.",
    columns: [
      { title: "thingName", width: "minmax(8rem, 1fr)", set: text((row) => row.thingName) },
      { title: "thingGroups", width: "minmax(6rem, 1fr)", isWide: true, set: text((row) => row.thingGroups.join(", ")) },
      { title: "executions", width: "6.5rem", set: text((row) => number(row.executions)) },
    ],
  });
}

export function groupsTable({ open }) {
  return new VirtualTable({
    label: "Thing groups, by name",
    open,
    fetchRows: rowsOf("groups"),
    empty: "No thing groups yet.",
    columns: [
      { title: "thingGroupName", width: "minmax(8rem, 1fr)", set: text((row) => row.thingGroupName) },
      { title: "parentGroupName", width: "minmax(8rem, 1fr)", isWide: true, set: text((row) => row.parentGroupName) },
      { title: "creationDate", width: "9.8rem", isWide: true, set: text((row) => time(row.creationDate)) },
      { title: "things", width: "6rem", set: text((row) => number(row.things)) },
    ],
  });
}

/** Executions of a job or of a thing; `first` is the member that tells one from another. */
export function executionsTable({ query, first, open, isCurrent, label }) {
  return new VirtualTable({
    label, open, isCurrent,
    fetchRows: (from, count) => read("rows/executions", { ...query, first: from, count }),
    empty: query.status ? `No execution is ${query.status}.` : "No executions yet.",
    columns: [
      { title: first, width: "minmax(8rem, 1fr)", set: text((row) => row[first]) },
      { title: "status", width: "7.9rem", set: (cell, row) => setPill(cell, row.status) },
      { title: "number", width: "4rem", isWide: true, set: text((row) => number(row.executionNumber)) },
      { title: "queuedAt", width: "9.8rem", isWide: true, set: text((row) => time(row.queuedAt)) },
      { title: "lastUpdatedAt", width: "9.8rem", isWide: true, set: text((row) => time(row.lastUpdatedAt)) },
    ],
  });
}
