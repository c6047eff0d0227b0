"""An agent that is known to be bad: whatever fails is sent again at once. The soak must notice."""

import sys

from tests.faults.model.controls import broken

from iot_jobs_agent.__main__ import main

with broken("everything is sent again at once"):
    sys.exit(main())
