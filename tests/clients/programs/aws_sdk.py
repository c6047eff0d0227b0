"""AWS's device SDK for Python, as its sample for Jobs uses it: a stream of notifications, and requests with answers."""

import threading

from awscrt import auth, mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, iotjobs, mqtt5_client_builder, mqtt_connection_builder
from steps import CA, CERTIFICATE, CLIENT, HOST, HTTP_PORT, IS_FIVE, IS_SIGNED, KEY, MQTTS_PORT, THING, WAIT_S

where = {"endpoint": HOST, "cert_filepath": CERTIFICATE, "pri_key_filepath": KEY, "client_id": THING}
if MQTTS_PORT != 443:  # the samples give neither: they connect to 443, and trust what SSL_CERT_FILE names
    where |= {"port": MQTTS_PORT, "ca_filepath": CA}
if IS_SIGNED:
    credentials = auth.AwsCredentialsProvider.new_static("any", "any")
    where = {"endpoint": HOST, "port": HTTP_PORT, "ca_filepath": CA, "client_id": THING}
    where |= {"region": "us-east-1", "credentials_provider": credentials}
connected, stopped, listening = threading.Event(), threading.Event(), threading.Event()
if IS_FIVE:
    build = "websockets_with_default_aws_signing" if IS_SIGNED else "mtls_from_path"
    client = getattr(mqtt5_client_builder, build)(
        **where,
        on_lifecycle_connection_success=lambda _: connected.set(),
        on_lifecycle_stopped=lambda _: stopped.set(),
    )
    client.start()
    assert connected.wait(WAIT_S)
    assert isinstance(client, mqtt5.Client)
else:
    build = "websockets_with_default_aws_signing" if IS_SIGNED else "mtls_from_path"
    client = getattr(mqtt_connection_builder, build)(**where)
    client.connect().result(WAIT_S)

options = mqtt_request_response.ClientOptions(
    max_request_response_subscriptions=4, max_streaming_subscriptions=2, operation_timeout_in_seconds=WAIT_S
)
jobs = iotjobs.IotJobsClientV2(client, options)
stream = jobs.create_next_job_execution_changed_stream(
    iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=THING),
    ServiceStreamOptions(
        incoming_event_listener=lambda _: None, subscription_status_listener=lambda _: listening.set()
    ),
)
stream.open()
assert listening.wait(WAIT_S)
pending = jobs.get_pending_job_executions(iotjobs.GetPendingJobExecutionsRequest(thing_name=THING)).result(WAIT_S)
request = iotjobs.StartNextPendingJobExecutionRequest(thing_name=THING)
execution = jobs.start_next_pending_job_execution(request).result(WAIT_S).execution
assert [each.job_id for each in pending.queued_jobs] == [execution.job_id]
jobs.update_job_execution(
    iotjobs.UpdateJobExecutionRequest(
        thing_name=THING, job_id=execution.job_id, status="SUCCEEDED", status_details={"client": CLIENT}
    )
).result(WAIT_S)
if IS_FIVE:
    client.stop()
    assert stopped.wait(WAIT_S)
else:
    client.disconnect().result(WAIT_S)
