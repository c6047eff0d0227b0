"""The command `iot-jobs-simulator rehearse`: what it takes, and what it prints. Starts nothing and listens nowhere."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.rehearsal.fates import MAX_SEED
from iot_jobs_simulator.rehearsal.fleet import Fleet, FleetError, load_fleet
from iot_jobs_simulator.rehearsal.grid import cells, grid_table, with_build
from iot_jobs_simulator.rehearsal.plan import Plan, PlanError, creation_time, load_job, plan_of
from iot_jobs_simulator.rehearsal.seeds import Engine, answers_of
from iot_jobs_simulator.rehearsal.summary import Summary, as_json, summary_of, table

_DAY_S: Final = 86400
_BAR: Final = 30
_EX_DATAERR: Final = 65
_ADVICE: Final = "pip install 'iot-jobs-agent[rehearsal]'"


def parser() -> argparse.ArgumentParser:
    """Return the parser; a value that cannot be used ends the program with status 2 and a sentence."""
    made = argparse.ArgumentParser(
        prog="iot-jobs-simulator rehearse",
        description="Tells how a rollout will go on a fleet that you describe, by the service's own rules.",
        allow_abbrev=False,
    )
    made.add_argument("fleet", type=Path, metavar="FLEET.toml", help="the devices; docs/rehearsal.md")
    made.add_argument(
        "--job",
        type=Path,
        action="append",
        required=True,
        metavar="JOB.json",
        help="a job as for `aws iot create-job --cli-input-json`; several, for several groups",
    )
    made.add_argument("--compare", type=Path, metavar="JOB.json", help="another plan, which meets the same fates")
    made.add_argument(
        "--grid",
        nargs=2,
        metavar=("RATES", "THRESHOLDS"),
        help="vary maximumPerMinute and thresholdPercentage, such as 50,200,1000 5,10,20: speed against harm; "
        "not with --compare, --plot or --build",
    )
    _add_fates(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--plot", type=Path, metavar="FILE", help="also draw the rollout over time, as .svg or .png")
    return made


def _add_fates(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--build", choices=["good", "bad"], help="have every seed a good or a bad build, not as [bad_build] draws it"
    )
    made.add_argument("--seeds", type=_count, default=20, metavar="N", help="how many fates (default: %(default)s)")
    made.add_argument("--first-seed", type=_count, default=1, metavar="N", help="the first (default: %(default)s)")
    made.add_argument("--days", type=_count, default=30, metavar="N", help="look no further (default: %(default)s)")
    made.add_argument(
        "--at",
        type=_moment,
        metavar="TIME",
        help="when the job is created, as 2026-12-07T20:00 in UTC (default: half an hour before its startTime, or now)",
    )
    made.add_argument(
        "--engine",
        choices=[engine.value for engine in Engine],
        help="core: the service's own rules, the default for one seed; arrays: the same for many, with numpy",
    )


@dataclass(frozen=True, slots=True)
class _Rehearsal:
    options: argparse.Namespace
    api: ServiceApi
    engine: Engine

    def plan(self, members: Json, fleet: Fleet) -> Plan:
        at = creation_time(members, time.time()) if self.options.at is None else self.options.at
        return plan_of(members, fleet, at, self.options.days * _DAY_S, self.api)

    def summary(self, title: str, plan: Plan) -> Summary:
        first = self.options.first_seed
        seeds = range(first, first + self.options.seeds)
        return summary_of(title, self.engine, answers_of(plan, seeds, self.engine, _progress(title, len(seeds))))


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse. The exit status is 0, 65 if fleet or job cannot be used, 1 if a file or a package is missing."""
    options = parser().parse_args(arguments)
    if options.first_seed + options.seeds > MAX_SEED:
        parser().error(f"the last seed is beyond {MAX_SEED}; give a smaller --first-seed")
    if options.grid and (options.compare or options.plot or options.build):
        parser().error("--grid varies one job, with a good and a bad build: leave out --compare, --plot and --build")
    engine = Engine(options.engine or (Engine.CORE if options.seeds == 1 else Engine.ARRAYS))
    try:
        return _rehearse(_Rehearsal(options, ServiceApi("iot"), engine), load_fleet(options.fleet))
    except (FleetError, PlanError) as error:
        return _fail(str(error), _EX_DATAERR)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"numpy", "matplotlib"}:
            raise
        return _fail(f"needs {error.name}, which is not installed here: {_ADVICE}; --engine core does without numpy", 1)
    except OSError as error:
        return _fail((f"{error.filename}: " if error.filename else "") + (error.strerror or str(error)), 1)


def _rehearse(rehearsal: _Rehearsal, fleet: Fleet) -> int:
    options = rehearsal.options
    if options.build:
        fleet = with_build(fleet, is_bad=options.build == "bad")
    if options.grid:
        return _print_grid(rehearsal, fleet)
    plans = {path: rehearsal.plan(load_job(path), fleet) for path in options.job}
    _check_apart(plans)
    if options.compare:
        plans[options.compare] = rehearsal.plan(load_job(options.compare), fleet)
    summaries = [rehearsal.summary(path.name, plan) for path, plan in plans.items()]
    if options.plot:
        from iot_jobs_simulator.rehearsal.plot import draw_plot  # noqa: PLC0415 - needs the extra

        try:
            draw_plot(summaries, options.plot)
        except ValueError as error:  # of matplotlib's, about the kind of picture
            raise PlanError(f"--plot {options.plot}: {error}") from None
    print(json.dumps([as_json(each) for each in summaries], indent=2) if options.json else table(summaries))
    return 0


def _print_grid(rehearsal: _Rehearsal, fleet: Fleet) -> int:
    rates, thresholds = (_numbers(text) for text in rehearsal.options.grid)
    members = load_job(rehearsal.options.job[0])

    def rehearse(varied: Json, built: Fleet) -> Summary:
        return rehearsal.summary("grid", rehearsal.plan(varied, built))

    found = list(cells(members, fleet, [int(rate) for rate in rates], thresholds, rehearse))
    shown: list[dict[str, Any]] = [
        {
            "rate_per_minute": each.rate_per_minute,
            "threshold_percent": each.threshold_percent,
            "good": as_json(each.good),
            "bad": as_json(each.bad),
        }
        for each in found
    ]
    print(json.dumps(shown, indent=2) if rehearsal.options.json else grid_table(found))
    return 0


def _check_apart(plans: dict[Path, Plan]) -> None:
    """Several jobs are rehearsed each for itself, which is true only if no device has two of them."""
    owners: dict[int, Path] = {}
    for path, plan in plans.items():
        for thing in plan.things:
            if owners.setdefault(thing, path) is not path:
                raise PlanError(f"{owners[thing]} and {path} have targets in common; rehearse one after the other")


def _progress(title: str, total: int) -> Callable[[], None]:
    """Draw a bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda: None
    done = 0

    def show() -> None:
        nonlocal done
        done += 1
        bar = ("#" * (_BAR * done // total)).ljust(_BAR)
        end = "\r\033[K" if done == total else ""
        print(f"\r{title} [{bar}] {done} of {total} seeds", end=end, file=sys.stderr, flush=True)

    return show


def _fail(sentence: str, status: int) -> int:
    print(f"iot-jobs-simulator rehearse: {sentence}", file=sys.stderr)
    return status


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise PlanError(f"--grid: {text} is not a list of numbers such as 50,200,1000") from None


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a count; give a whole number from 1 on")
    return int(word)


def _moment(word: str) -> float:
    try:
        return datetime.strptime(word, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word} is not a time; give it as 2026-12-07T20:00, in UTC") from None
