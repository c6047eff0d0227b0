#!/bin/sh
# upparat, a service of its own: it connects to port 443 by ALPN, downloads the document's file and is done.
set -eu
cat >"$SCRATCH/upparat.conf" <<END
[service]
download_location = $SCRATCH
[broker]
host = $HOST
port = $MQTTS_PORT
thing_name = $THING
client_id = $THING
cafile = $CA
certfile = $CERTIFICATE
keyfile = $KEY
END
exec "$(dirname "$PYTHON")/upparat" --verbose --config-file "$SCRATCH/upparat.conf"
