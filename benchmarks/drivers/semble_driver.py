"""Runs inside semble's environment: `model`, `index`, `queries` and `places`. Prints one line of JSON.

Belongs here: calls of semble's and Model2Vec's public functions. Not here: anything of this project.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path


def make_model(table: str, tokenizer: str, out: str) -> dict[str, object]:
    """A Model2Vec folder (config.json, model.safetensors with `embeddings`, tokenizer.json) from WordLlama's table."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = load_file(table)["embedding.weight"].astype(np.float32)
    save_file({"embeddings": np.ascontiguousarray(vectors)}, folder / "model.safetensors")
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    (folder / "config.json").write_text(json.dumps({"normalize": True, "embedding_dtype": "float32"}))
    return {"tokens": int(vectors.shape[0]), "dimension": int(vectors.shape[1])}


def index(path: str, model: str) -> dict[str, object]:
    """Index a folder and save the result where semble's command looks for it."""
    started = time.perf_counter()
    from semble.cache import save_index_to_cache
    from semble.index import SembleIndex

    imported = time.perf_counter()
    built = SembleIndex.from_path(path, model_path=model)
    indexed = time.perf_counter()
    save_index_to_cache(built, path)
    return {
        "import_seconds": imported - started,
        "from_path_seconds": indexed - imported,
        "save_seconds": time.perf_counter() - indexed,
        "files": built.stats.indexed_files,
        "chunks": built.stats.total_chunks,
    }


def queries(path: str, model: str, queries_file: str, passes: str) -> dict[str, object]:
    """Latencies in milliseconds of every query of every pass after the first, and the files of each answer."""
    from semble.index import SembleIndex

    built = SembleIndex.from_path(path, model_path=model)
    texts = json.loads(Path(queries_file).read_text())
    answers = {text: [result.chunk.file_path for result in built.search(text, top_k=10)] for text in texts}
    latencies = []
    for _ in range(int(passes)):
        for text in texts:
            started = time.perf_counter()
            built.search(text, top_k=10)
            latencies.append((time.perf_counter() - started) * 1e3)
    return {"milliseconds": latencies, "answers": answers}


def places(model: str, questions_file: str) -> list[list[dict[str, object]]]:
    """For each [folder, queries] of the file, for each query: milliseconds, and (file, start line, end line) of ten results."""
    from semble.index import SembleIndex

    answers = []
    for folder, texts in json.loads(Path(questions_file).read_text()):
        built = SembleIndex.from_path(folder, model_path=model)
        built.search(texts[0], top_k=10)
        found = []
        for text in texts:
            started = time.perf_counter()
            results = built.search(text, top_k=10)
            spent = (time.perf_counter() - started) * 1e3
            chunks = [result.chunk for result in results]
            found.append({"milliseconds": spent, "places": [(one.file_path, one.start_line, one.end_line) for one in chunks]})
        answers.append(found)
    return answers


if __name__ == "__main__":
    command = {"model": make_model, "index": index, "queries": queries, "places": places}[sys.argv[1]]
    # Spawned workers import this file again, so nothing may happen outside this guard.
    print(json.dumps(command(*sys.argv[2:])))
