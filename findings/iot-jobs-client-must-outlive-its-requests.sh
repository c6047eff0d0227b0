#!/bin/sh
# A request of the AWS IoT Device SDK's Jobs client V2 ends with the Python object that made it, not with its future.
#
# One would guess: the concurrent.futures.Future that a request returns keeps alive whatever it needs, as it does with
# boto3, grpc or an executor, so that `IotJobsClientV2(...).get_pending_job_executions(...).result()` may stand on one line.
# What happens: nothing holds the client but the caller's variable. CPython destroys the temporary at the end of the
# expression, and the request fails at once with AWS_ERROR_MQTT_REQUEST_RESPONSE_CLIENT_SHUT_DOWN. In a function that returns the
# future, or where the variable is used again for another client, the same happens later, which looks like a fault of the network.
# What helps: keep the client in an object that lives as long as the connection.
#
# Seen with awsiotsdk 1.31.0 and awscrt 0.36.1 on Python 3.11 and Linux; no server is needed. Needs python3 with venv, and
# the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet awsiotsdk==1.31.0 awscrt==0.36.1
cat > "$scratch/show.py" << 'END'
import concurrent.futures
import sys

from awscrt import mqtt5, mqtt_request_response
from awsiot import iotjobs

connection = mqtt5.Client(mqtt5.ClientOptions(host_name="127.0.0.1", port=1))
connection.start()
options = mqtt_request_response.ClientOptions(2, 2, 10)
request = iotjobs.GetPendingJobExecutionsRequest(thing_name="device")
client = iotjobs.IotJobsClientV2(connection, options)
answer = client.get_pending_job_executions(request)
if sys.argv[1] == "dropped":
    del client
try:
    answer.result(2)
except concurrent.futures.TimeoutError:
    print("still waiting after 2 s")
except Exception as error:
    print("SHUT_DOWN" if "CLIENT_SHUT_DOWN" in repr(error.args) + repr(error.__cause__) else repr(error))
connection.stop()
END
cd "$scratch"
kept=$(venv/bin/python show.py kept)
dropped=$(venv/bin/python show.py dropped)
echo "client kept: $kept; client dropped: $dropped"
[ "$kept" = "still waiting after 2 s" ]
[ "$dropped" = SHUT_DOWN ]
