// npm aws-iot-device-sdk, with its class for Jobs.
"use strict";
const { jobs } = require("aws-iot-device-sdk");
const steps = require("./steps");

const credentials = steps.isSigned
  ? { protocol: "wss", accessKeyId: "any", secretKey: "any", region: "us-east-1" }
  : { keyPath: steps.key, certPath: steps.certificate, caPath: steps.ca };
const device = jobs({ ...credentials, clientId: steps.thing, host: steps.host, port: steps.port });
device.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
device.subscribeToJobs(steps.thing, (error, job) => {
  if (error) throw error;
  job.inProgress({ client: steps.client }, (failure) => {
    if (failure) throw failure;
    job.succeeded({ client: steps.client }, (failed) => device.end(false, () => process.exit(failed ? 1 : 0)));
  });
});
device.startJobNotifications(steps.thing, (error) => {
  if (error) throw error;
});
