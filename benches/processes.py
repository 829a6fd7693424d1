"""Python's ProcessPoolExecutor with two workers, measured once.

python3 processes.py WORKLOAD N [CONTEXT]: prints the seconds that N of the workload took, after a warm-up.
Workloads: round-trip, flood, map, start-up. Contexts: fork (the default), spawn, forkserver.
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

WORKERS = 2
CHUNK = 1000


def same(number):
    return number


def small(item):
    return item * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF


def round_trip(pool, tasks):
    for number in range(tasks):
        assert pool.submit(same, number).result() == number


def flood(pool, tasks):
    futures = [pool.submit(same, number) for number in range(tasks)]
    assert sum(future.result() for future in futures) == tasks * (tasks - 1) // 2


def map_items(pool, items):
    results = list(pool.map(small, range(items), chunksize=CHUNK))
    assert len(results) == items and results[-1] == small(items - 1)


def seconds(run, *arguments):
    started = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - started


def start_up(context):
    """A new pool and its first result. Its end is not in there, as in Rust's."""
    started = time.perf_counter()
    pool = ProcessPoolExecutor(WORKERS, mp_context=context)
    assert pool.submit(same, 7).result() == 7
    elapsed = time.perf_counter() - started
    pool.shutdown()
    return elapsed


def main():
    workload, times = sys.argv[1], int(sys.argv[2])
    context = multiprocessing.get_context(sys.argv[3] if len(sys.argv) > 3 else "fork")
    if workload == "start-up":
        # The first one starts the server of forks, and imports what comes late.
        start_up(context)
        print(sum(start_up(context) for _ in range(times)))
        return
    run = {"round-trip": round_trip, "flood": flood, "map": map_items}[workload]
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        run(pool, min(times, 100))
        print(seconds(run, pool, times))


if __name__ == "__main__":
    main()
