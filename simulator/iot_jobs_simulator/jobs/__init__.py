"""The rules of AWS IoT Jobs, pure: no I/O, no clock (time is an argument, seconds since the epoch), no framework.

`execution` and `job` are the nouns, `store` holds them and sees to notifications, `device` and `operator` are what
devices and operators may do, `rollout` what the service does by itself, `views` the JSON that all of them show.
"""
