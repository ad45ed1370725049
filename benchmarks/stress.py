"""Random changes and random damage, for longer than the suite has time: no wrong answer, no crash, no hang, bounded memory.

    .venv/bin/python benchmarks/stress.py [--operations 10000] [--mutations 1000] [--seeds 3] [--families ivf_sq8,hnsw]

Operations: the model of `tests/index/dense/test_updates.py` drives an index of each family beside brute force, once as it is
and once with every filter sent through FAISS. An answer that the model does not give ends the sequence and is counted.

Mutations: of a stored index with a delta and deletions a file is truncated, has bits flipped, or a piece zeroed; then a process
of its own, with bounds on memory (RLIMIT_AS) and time, opens it and searches. It must refuse, or answer as before; a crash, a
hang and an allocation beyond the bound count as wrong. Ids and vectors are vouched for by the store: where they make another
answer, the digest of the store must tell. Damage whose author also writes matching digests is out of scope: whoever can do
that can write any index.

Prints one table for each and exits with 1 on anything wrong. Belongs here: that. Not here: the model (`tests`).
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

# Before NumPy and FAISS are imported: a process that is forked must have no threads.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np

from pipeline import files
from pipeline.errors import CodeIntelError
from pipeline.index.dense import searching
from pipeline.index.dense.families import FAMILIES, import_faiss
from pipeline.index.dense.vectors import VectorIndex

_MODEL = Path(__file__).resolve().parents[1] / "tests" / "index" / "dense" / "test_updates.py"
VOUCHED = ("faiss.index", "faiss.rows.npy", "faiss.delta.index", "deletions.npy", "faiss.meta.json")
"""What `faiss.meta.json` vouches for, and itself."""
ARRAYS = ("ids.npy", "vector_hashes.npy", "vectors/shard-000.npy")
"""What only the digests of the store vouch for."""
KINDS = ("truncate", "flip", "zero")
MEMORY, SECONDS = 1 << 30, 20
"""What a process may take beyond what it starts with, in bytes; and how long."""
RIGHT, REFUSED, OTHERWISE = 0, 10, 11
"""Exit statuses of a process that looks at a damaged index."""


def model_module() -> Any:
    """The model that the suite drives."""
    spec = importlib.util.spec_from_file_location("test_updates", _MODEL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def operations(module: Any, family: str, count: int, seed: int, *, selectors: bool) -> tuple[Counter[str], str]:
    """How many of each kind were done, and what went wrong ("" for nothing)."""
    allowed, searching._EXACT_ALLOWED = searching._EXACT_ALLOWED, 0 if selectors else searching._EXACT_ALLOWED
    cost, searching._EXACT_COST = searching._EXACT_COST, 1 << 40 if selectors else searching._EXACT_COST
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = module.Model(family, seed, Path(folder))
            for _ in range(count):
                model.step()
            model.compare()
            return model.done, "" if model.misses <= module.MOST_MISSES * max(1, model.wanted) else "too little is found"
    except AssertionError as error:
        return Counter(), str(error).splitlines()[0] or "wrong"
    finally:
        searching._EXACT_ALLOWED = allowed
        searching._EXACT_COST = cost


def damaged(raw: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """`raw` truncated, with up to eight bits flipped, or up to 4 KiB zeroed; never as it was."""
    at = int(rng.integers(0, len(raw)))
    data = bytearray(raw)
    if kind == "truncate":
        return raw[:at]
    if kind == "zero":
        data[at : at + 4096] = bytes(len(data[at : at + int(rng.integers(1, 4097))]))
    if kind == "flip" or bytes(data) == raw:
        for place in set(rng.integers(0, len(data), int(rng.integers(1, 9))).tolist()):
            data[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(data)


def outcome(folder: Path, queries: np.ndarray, expected: tuple[np.ndarray, ...], *, mapped: bool) -> str:
    """What a process of its own makes of the index: `refused`, `right`, `otherwise`, `hang`, or how it died."""
    child = os.fork()
    if not child:
        status = OTHERWISE
        try:
            faulthandler.disable()
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            index = VectorIndex.open(folder, mapped=mapped)
            found = (*index.search(queries, 5), *index.search(queries, 5, allowed=index.idmap().ids[::2]))
            same = all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
            status = RIGHT if same else OTHERWISE
        except CodeIntelError:
            status = REFUSED
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            status = 1
        finally:
            os._exit(status)
    deadline = time.monotonic() + SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    return {RIGHT: "right", REFUSED: "refused", OTHERWISE: "otherwise"}.get(code, f"died ({code})")


def mutations(module: Any, family: str, count: int, seed: int) -> Counter[tuple[str, str]]:
    """(file, outcome) -> how often. `store refuses`: answers of a damaged array would be others, but its digest tells."""
    rng = np.random.default_rng(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = module.Model(family, seed, folder / "unused")
        for step in ("delete", "add", "delete", "add"):
            getattr(model, step)()
        model.index.save(folder, arrays=True)
        index = VectorIndex.open(folder)
        queries = module.unit(rng, 3)
        expected = (*index.search(queries, 5), *index.search(queries, 5, allowed=index.idmap().ids[::2]))
        names = VOUCHED + ARRAYS
        for number in range(count):
            path = folder / names[number % len(names)]
            raw = path.read_bytes()
            digest = files.digest_file(path)
            path.write_bytes(damaged(raw, KINDS[number // len(names) % len(KINDS)], rng))
            what = outcome(folder, queries, expected, mapped=bool(number % 2))
            if what == "otherwise" and path.name in ARRAYS and files.digest_file(path) != digest:
                what = "store refuses"
            outcomes[path.name, what] += 1
            path.write_bytes(raw)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=10_000, help="over all families and seeds")
    parser.add_argument("--mutations", type=int, default=1000, help="over all families")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--families", default=",".join(FAMILIES))
    options = parser.parse_args()
    families = options.families.split(",")
    import_faiss().omp_set_num_threads(1)
    module = model_module()
    wrong = 0
    print("| family | operations | add | delete | search | answers checked | collide | merge | store | wrong |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    each = -(-options.operations // (len(families) * options.seeds * 2))
    for family in families:
        total: Counter[str] = Counter()
        problems = []
        for seed in range(2 * options.seeds):
            done, problem = operations(module, family, each, seed, selectors=bool(seed % 2))
            total += done
            problems += [f"seed {seed}: {problem}"] if problem else []
        wrong += len(problems)
        columns = [total[name] for name in ("add", "delete", "search", "answers", "collide", "merge", "store")]
        steps = sum(total.values()) - total["answers"]
        print(f"| {family} | {steps} | {' | '.join(map(str, columns))} | {'; '.join(problems) or 0} |", flush=True)
    print()
    print("| family | damaged | refused | right all the same | refused by the store's digest alone | wrong, crashed or hung |")
    print("|---|---|---|---|---|---|", flush=True)
    for family in families:
        found = mutations(module, family, -(-options.mutations // len(families)), sum(family.encode()))
        by = Counter({what: sum(n for (_, one), n in found.items() if one == what) for _, what in found})
        bad = {key: n for key, n in found.items() if key[1] not in ("refused", "right", "store refuses")}
        wrong += sum(bad.values())
        print(
            f"| {family} | {sum(found.values())} | {by['refused']} | {by['right']} | {by['store refuses']} | {bad or 0} |",
            flush=True,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
