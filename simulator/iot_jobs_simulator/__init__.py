"""AWS IoT Jobs on one machine: an amqtt broker and the REST planes that boto3 and the AWS CLI drive.

Rule of the package: it shares no code with `agent`, so that each can find the other wrong.
"""
