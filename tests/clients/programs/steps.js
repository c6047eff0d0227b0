// What every device does about a job, for clients that publish and subscribe: start the next one, and end it.
"use strict";
const thing = process.env.THING;
const prefix = `$aws/things/${thing}/jobs/`;

// What to publish next, null once the job has ended.
function replyTo(topic, payload) {
  const answer = JSON.parse(payload.toString());
  if (topic === prefix + "start-next/accepted") {
    const execution = answer.execution;
    const statusDetails = { client: process.env.CLIENT };
    const change = { status: "SUCCEEDED", expectedVersion: execution.versionNumber, statusDetails };
    return { topic: `${prefix}${execution.jobId}/update`, payload: JSON.stringify(change) };
  }
  if (topic.endsWith("/update/accepted")) return null;
  throw new Error(`${topic}: ${payload}`);
}

module.exports = {
  thing,
  client: process.env.CLIENT,
  host: process.env.HOST,
  isSigned: process.env.VERSION.endsWith("WebSocket"), // instead of a certificate
  port: Number(process.env.VERSION.endsWith("WebSocket") ? new URL(process.env.HTTP_URL).port : process.env.MQTTS_PORT),
  ca: process.env.CA,
  certificate: process.env.CERTIFICATE,
  key: process.env.KEY,
  isFive: process.env.VERSION.startsWith("5"),
  filters: [prefix + "start-next/accepted", prefix + "start-next/rejected", prefix + "+/update/+"],
  first: { topic: prefix + "start-next", payload: "{}" },
  replyTo,
};
