"""From a job document to a plan, or to the reason why there is none. Pure: what a device offers is an argument."""
