"""Python's ways to give another process bytes, and to get them from it, measured one at a time.

python3 bulk.py: reads lines `WAY DIRECTION BYTES`, and prints the seconds that each took.
Ways: executor (concurrent.futures), pool (multiprocessing.Pool), pipe (multiprocessing.Pipe and a process).
Directions: to (bytes there, and their number back), back (a number there, and as many bytes back).
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor


def make(size):
    return b"\7" * size


def serve(pipe):
    while True:
        task, argument = pipe.recv()
        pipe.send(task(argument))


def main():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    context.Process(target=serve, args=(there,), daemon=True).start()
    pool = context.Pool(1)
    executor = ProcessPoolExecutor(1, mp_context=context)

    def by_pipe(task, argument):
        here.send((task, argument))
        return here.recv()

    ways = {
        "executor": lambda task, argument: executor.submit(task, argument).result(),
        "pool": lambda task, argument: pool.apply(task, (argument,)),
        "pipe": by_pipe,
    }
    source = b""
    for line in sys.stdin:
        way, direction, size = line.split()
        call, size = ways[way], int(size)
        if len(source) != size:
            source = make(size)
        task, argument = (len, source) if direction == "to" else (make, size)
        started = time.perf_counter()
        result = call(task, argument)
        elapsed = time.perf_counter() - started
        assert result == size if direction == "to" else len(result) == size
        del result
        print(elapsed, flush=True)
    pool.terminate()
    executor.shutdown()


if __name__ == "__main__":
    main()
