#!/bin/sh
# mosquitto_rr of Debian's mosquitto-clients: a request and its answer, over both versions of MQTT.
set -eu
[ "$VERSION" = 5 ] && version=5 || version=311
jobs="\$aws/things/$THING/jobs"
ask() { # ask TOPIC PAYLOAD
    mosquitto_rr -V "$version" -h "$HOST" -p "$MQTTS_PORT" --cafile "$CA" --cert "$CERTIFICATE" --key "$KEY" -i "$THING" \
        -W 20 -q 1 -t "$jobs/$1" -e "$jobs/$1/accepted" -m "$2"
}
ask start-next '{}'
ask "$JOB/update" "{\"status\":\"SUCCEEDED\",\"statusDetails\":{\"client\":\"$CLIENT\"}}"
