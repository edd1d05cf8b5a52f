"""The tables that the benchmarks print: figures, ratios, targets and whether they are reached."""

import operator
import statistics

from processor_time import KINDS


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def paired(runs, bases, key, relation=operator.truediv):
    """The median of what `relation` gives for each two runs of one round: the machine's speed drifts less within one."""
    return statistics.median(relation(run[key], base[key]) for run, base in zip(runs, bases))


def verdict(target, reached, is_reached, form=".2f"):
    return f"{target}: {'ok' if is_reached else f'short ({reached:{form}})'}"


def print_table(title, runs, figure, unit, ratios, targets, per, less_is_better=False):
    """`runs` maps each candidate to its runs, `figure` names what counts in them, and is printed as `unit`.

    `ratios`: the candidates to compare with. `targets`: candidate → {candidate compared with: least ratio}. A ratio
    is "how many times better", so above 1 is always good. `per`: of what "units" of a run are a count.
    """
    def ratio(label, base):
        quotient = median(runs[label], figure) / median(runs[base], figure)
        return 1 / quotient if less_is_better else quotient

    known = next(iter(runs.values()))[0]
    latencies = [key for key in ("p50", "p99") if key in known and key != figure]
    print(f"\n{title}")
    print(f"{'':12} {unit:>10}" + "".join(f" {'of ' + base:>10}" for base in ratios)
          + "".join(f" {key + ' ms':>8}" for key in latencies) + f" {'failed':>7}  target")
    for label, results in runs.items():
        cells = [f"{label:12} {median(results, figure):10.{1 if less_is_better else 0}f}"]
        cells += [f"{ratio(label, base):10.2f}" for base in ratios]
        cells += [f"{median(results, key):8.2f}" for key in latencies]
        cells.append(f"{sum(run['failed'] for run in results):7d} ")
        for base, least in targets.get(label, {}).items():
            reached = ratio(label, base)
            cells.append(verdict(f"{least:g} of {base}", reached, reached >= least) + ";")
        print(" ".join(cells).rstrip(" ;"))
    print_processor_time(runs, per)


def print_processor_time(runs, per):
    """Milliseconds of processor time for each unit of work; "busy" is all of them, in processors."""
    print(f"  processor ms per {per}:" + "".join(f" {kind:>8}" for kind in KINDS))
    for label, results in runs.items():
        units = sum(run["units"] for run in results)
        if units:
            print(f"  {label:>{len('processor ms per :') + len(per)}}" + "".join(
                f" {sum(run['processor'][kind] for run in results) / units * 1000:8.2f}" for kind in KINDS))
