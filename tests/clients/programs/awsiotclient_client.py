"""awsiotclient, which connects to port 443 by ALPN and runs a function for each job, until it is ended."""

import threading

from awsiotclient import jobs, mqtt
from steps import CA, CERTIFICATE, HOST, KEY, THING, WAIT_S


def work(job_id: str, document: jobs.JobDocument) -> None:
    assert document, job_id


connection = mqtt.init(mqtt.ConnectionParams(endpoint=HOST, root_ca=CA, cert=CERTIFICATE, key=KEY, client_id=THING))
connection.connect().result(WAIT_S)
client = jobs.client(connection, THING, job_func=work)
threading.Event().wait()
