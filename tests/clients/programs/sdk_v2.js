// npm aws-iot-device-sdk-v2: its client for Jobs, over both versions of MQTT.
"use strict";
const { auth, iot, iotjobs, mqtt, mqtt5 } = require("aws-iot-device-sdk-v2");
const { once } = require("events");
const steps = require("./steps");

function any() {
  return auth.AwsCredentialsProvider.newStatic("any", "any");
}

async function connected() {
  if (!steps.isFive) {
    const builder = steps.isSigned
      ? iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets({ region: "us-east-1", credentials_provider: any() })
      : iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(steps.certificate, steps.key);
    builder.with_certificate_authority_from_path(undefined, steps.ca);
    builder.with_client_id(steps.thing).with_endpoint(steps.host).with_port(steps.port);
    const connection = new mqtt.MqttClient().new_connection(builder.build());
    await connection.connect();
    const make = (options) => iotjobs.IotJobsClientv2.newFromMqtt311(connection, options);
    return { make, end: () => connection.disconnect() };
  }
  const direct = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath;
  const signed = iot.AwsIotMqtt5ClientConfigBuilder.newWebsocketMqttBuilderWithSigv4Auth;
  const builder = steps.isSigned
    ? signed(steps.host, { region: "us-east-1", credentialsProvider: any() })
    : direct(steps.host, steps.certificate, steps.key);
  builder.withCertificateAuthorityFromPath(undefined, steps.ca).withPort(steps.port);
  builder.withConnectProperties({ clientId: steps.thing, keepAliveIntervalSeconds: 60 });
  const client = new mqtt5.Mqtt5Client(builder.build());
  const success = once(client, "connectionSuccess");
  client.start();
  await success;
  const end = async () => {
    const stopped = once(client, "stopped");
    client.stop();
    await stopped;
    client.close();
  };
  return { make: (options) => iotjobs.IotJobsClientv2.newFromMqtt5(client, options), end };
}

async function main() {
  const { make, end } = await connected();
  const jobs = make({ maxRequestResponseSubscriptions: 4, maxStreamingSubscriptions: 2, operationTimeoutInSeconds: 20 });
  const { execution } = await jobs.startNextPendingJobExecution({ thingName: steps.thing });
  await jobs.updateJobExecution({
    thingName: steps.thing,
    jobId: execution.jobId,
    status: iotjobs.model.JobStatus.SUCCEEDED,
    statusDetails: { client: steps.client },
  });
  jobs.close();
  await end();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
