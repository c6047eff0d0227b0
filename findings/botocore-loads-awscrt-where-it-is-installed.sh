#!/bin/sh
# Whoever installs awscrt, for example with the AWS IoT Device SDK, makes every other boto3 program in that environment load it.
#
# One would guess: awscrt is an optional extra of botocore (`botocore[crt]`), and its native library is loaded by those who use
# what needs it, such as SigV4a.
# What happens: `import botocore.compat`, which every client imports, tries `import awscrt.auth` and keeps it. So a program
# that only makes a plain client loads a native library of megabytes as soon as a neighbour in the environment depends on
# it. There is no switch to leave it out.
# What helps: give boto3 an environment without awscrt, or put None for it into sys.modules before botocore is imported.
#
# Seen with botocore 1.44.5 and awscrt 0.36.1 on Python 3.11 and Linux. Needs python3 with venv, and the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat > "$scratch/show.py" << 'END'
import sys

if sys.argv[1:] == ["none"]:
    sys.modules["awscrt"] = None
import botocore.session

botocore.session.get_session().create_client("iot", region_name="eu-west-1")
library = "_awscrt" in sys.modules
memory = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:"))
print(library, memory)
END
cd "$scratch"
python3 -m venv venv
venv/bin/pip install --quiet botocore==1.44.5
alone=$(venv/bin/python show.py)
venv/bin/pip install --quiet awscrt==0.36.1
beside=$(venv/bin/python show.py)
without=$(venv/bin/python show.py none)
echo "loads the library, RSS in KiB: botocore alone: $alone; with awscrt beside it: $beside; kept out by hand: $without"
[ "${alone% *}" = False ]
[ "${beside% *}" = True ]
[ "${without% *}" = False ]
[ "${beside#* }" -gt "$((${alone#* } + 2000))" ]
