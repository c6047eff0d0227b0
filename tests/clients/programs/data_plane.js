// npm @aws-sdk/client-iot-jobs-data-plane, over HTTP with signatures.
"use strict";
const sdk = require("@aws-sdk/client-iot-jobs-data-plane");
const steps = require("./steps");

async function main() {
  const client = new sdk.IoTJobsDataPlaneClient({
    endpoint: process.env.HTTP_URL,
    region: "us-east-1",
    credentials: { accessKeyId: "any", secretAccessKey: "any" },
  });
  const thingName = steps.thing;
  const pending = await client.send(new sdk.GetPendingJobExecutionsCommand({ thingName }));
  const { execution } = await client.send(new sdk.StartNextPendingJobExecutionCommand({ thingName }));
  if (pending.queuedJobs[0].jobId !== execution.jobId) throw new Error(JSON.stringify(pending));
  await client.send(
    new sdk.UpdateJobExecutionCommand({
      thingName,
      jobId: execution.jobId,
      status: "SUCCEEDED",
      expectedVersion: execution.versionNumber,
      statusDetails: { client: steps.client },
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
