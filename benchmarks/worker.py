"""The loop of every worker of ``throughput.py``; needs nothing but the standard library."""

import json
import resource
import sys
import time
from collections.abc import Callable


def serve(work: Callable[[], float]) -> None:
    """Does the work once for every line on standard input, and prints what it took.

    Args:
      work: gives the loss it ended with, and returns only when it is done.
    """
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        value = work()
        result = {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
            "loss": value,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(result), flush=True)
