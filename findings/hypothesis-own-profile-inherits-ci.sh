#!/bin/sh
# A profile of Hypothesis that names only what it changes is a different one where the variable CI is set.
#
# One would guess: `settings.register_profile("project", deadline=None)` starts from Hypothesis's documented defaults, so
# that a project which loads its own profile has the same settings on a laptop and in CI.
# What happens: where CI is set, Hypothesis loads its built-in profile "ci" when it is imported, and register_profile
# without `parent` starts from the profile that is loaded. The project's own profile then is derandomized, prints blobs,
# has no database, and suppresses the health check too_slow, although nobody wrote that. A test that asserts on its own
# settings, or that relies on a health check or on new random examples in CI, behaves differently there.
# What helps: name every setting that matters, or pass `parent=settings.get_profile("default")`.
#
# Seen with hypothesis 6.170.15 on Python 3.11. Needs python3 with venv, and the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet hypothesis==6.170.15
cat > "$scratch/show.py" << 'END'
import sys

from hypothesis import settings

more = {"parent": settings.get_profile("default")} if sys.argv[1] == "with-parent" else {}
settings.register_profile("project", deadline=None, **more)
settings.load_profile("project")
mine = settings()
checks = ",".join(sorted(check.name for check in mine.suppress_health_check)) or "none"
print(f"derandomize={mine.derandomize} print_blob={mine.print_blob} suppressed={checks}")
END
cd "$scratch"
laptop=$(env -u CI venv/bin/python show.py plain)
ci=$(CI=true venv/bin/python show.py plain)
parent=$(CI=true venv/bin/python show.py with-parent)
echo "without CI:                      $laptop"
echo "with CI:                         $ci"
echo "with CI and an explicit parent:  $parent"
[ "$laptop" = "derandomize=False print_blob=False suppressed=none" ]
[ "$ci" = "derandomize=True print_blob=True suppressed=too_slow" ]
[ "$parent" = "$laptop" ]
