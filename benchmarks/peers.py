"""The peers: semble and archex from PyPI, each in an environment of its own.

Belongs here: how each is installed, indexed and queried. Not here: what is compared (`main_job`).

semble's published weights lie on a model hub and cannot be had from PyPI; it gets WordLlama's table, from the wheel of that
name, as a Model2Vec folder. That is fair for its speed, and says nothing about the quality of its own weights.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import corpus
from figures import Figures
from measure import Run, environment, file_bytes, run

SEMBLE = ("semble==0.7.0", "model2vec==0.10.0", "vicinity==0.4.6", "tree-sitter==0.26.1", "numpy==2.4.6")
ARCHEX = ("archex==0.35.0", "tiktoken==0.14.0", "tree-sitter==0.26.1", "tree-sitter-language-pack==0.13.0", "numpy==2.4.6")
WORDLLAMA = "wordllama==0.4.0.post1"
LITELLM = "litellm==1.109.1"
"""Only for a file in it: the token table that archex would else fetch from the network, under the name that it looks for."""
_TOKEN_TABLE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"

ARCHEX_PASSES = 2
"""At half a second a query, more passes would only take longer."""
QUERY = corpus.QUERIES[0]
_DRIVERS = Path(__file__).parent / "drivers"


class Semble:
    """semble with a stand-in table. `workers` 0 is its library's default, 4 its command's."""

    def __init__(self, work: Path, source: Path, workers: int) -> None:
        self.figures = Figures(f"semble, {workers} workers" if workers else "semble")
        self._python = corpus.environment_with(work, "semble", *SEMBLE)
        self._source = source
        self._home = work / f"semble-{workers}"
        self._queries = _queries_file(work)
        self._model = self._stand_in(work)
        self._env = environment(
            {
                "SEMBLE_CACHE_LOCATION": self._home,
                "SEMBLE_MODEL_NAME": self._model,
                "SEMBLE_INDEX_WORKERS": str(workers),
                "HF_HUB_OFFLINE": "1",
            }
        )

    def _stand_in(self, work: Path) -> Path:
        folder = work / "model2vec-wordllama"
        if not (folder / "config.json").is_file():
            with zipfile.ZipFile(corpus.download(work, WORDLLAMA)) as wheel:
                table, tokenizer = (
                    wheel.extract(f"wordllama/{name}", work / "wheels" / "unpacked")
                    for name in ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")
                )
            run([self._python, _DRIVERS / "semble_driver.py", "model", table, tokenizer, folder])
        return folder

    def places(self, questions: Sequence[tuple[Path, Sequence[str]]]) -> list[list[dict[str, Any]]]:
        """Index each folder and ask its queries: for each query `milliseconds`, and `places` of ten results."""
        asked = self._queries.with_name("questions.json")
        asked.write_text(json.dumps([(str(folder), texts) for folder, texts in questions]))
        found: list[list[dict[str, Any]]] = self._driver("places", self._model, asked)[1]
        return found

    def _driver(self, *arguments: str | Path) -> tuple[Run, Any]:
        measured = run([self._python, _DRIVERS / "semble_driver.py", *arguments], env=self._env)
        return measured, json.loads(measured.stdout)

    def round(self) -> None:
        """One cold build, and a cold query over its result."""
        _fresh(self._home)
        measured, said = self._driver("index", self._source, self._model)
        self.figures.add_build(measured)
        self.figures.build_inner.add(said["from_path_seconds"])
        self.figures.files.add(said["files"])
        self.figures.chunks.add(said["chunks"])
        self.figures.store_mib.add(_mib(self._home))
        command = self._python.parent / "semble"
        measured = run([command, "search", QUERY, self._source, "-k", "10"], env=self._env)
        self.figures.cold_query.add(measured.wall)
        self.figures.cold_query_peak.add(measured.peak)

    def queries(self, passes: int) -> None:
        """Warm queries over the last round's index."""
        _, said = self._driver("queries", self._source, self._model, self._queries, str(passes))
        self.figures.warm_query.values.extend(said["milliseconds"])
        self.figures.add_answers(said["answers"])


class Archex:
    """archex with its default settings (lexical retrieval, no model)."""

    def __init__(self, work: Path, source: Path) -> None:
        self.figures = Figures("archex")
        self._python = corpus.environment_with(work, "archex", *ARCHEX)
        self._source = source
        self._home = work / "archex-home"
        self._queries = _queries_file(work)
        tokens = work / "tiktoken"
        if not (tokens / _TOKEN_TABLE).is_file():
            tokens.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(corpus.download(work, LITELLM)) as wheel:
                content = wheel.read(f"litellm/litellm_core_utils/tokenizers/{_TOKEN_TABLE}")
            (tokens / _TOKEN_TABLE).write_bytes(content)
        self._env = environment({"HOME": self._home, "TIKTOKEN_CACHE_DIR": tokens})

    def round(self) -> None:
        """One cold build, the same again, and a cold query."""
        _fresh(self._home)
        command = self._python.parent / "archex"
        measured = run([command, "index", self._source, "--format", "json"], env=self._env)
        said = json.loads(measured.stdout)
        self.figures.add_build(measured)
        self.figures.build_inner.add(said["duration_ms"] / 1e3)
        self.figures.files.add(said["files_indexed"])
        self.figures.chunks.add(said["chunks_indexed"])
        self.figures.store_mib.add(_mib(self._home))
        self.figures.again.add(run([command, "index", self._source, "--format", "json"], env=self._env).wall)
        measured = run([command, "query", self._source, QUERY, "--format", "json"], env=self._env)
        self.figures.cold_query.add(measured.wall)
        self.figures.cold_query_peak.add(measured.peak)

    def queries(self, passes: int) -> None:
        """Warm queries over the last round's index."""
        driver = _DRIVERS / "archex_driver.py"
        measured = run([self._python, driver, self._source, self._queries, str(min(passes, ARCHEX_PASSES))], env=self._env)
        said = json.loads(measured.stdout)
        self.figures.warm_query.values.extend(said["milliseconds"])
        self.figures.add_answers(said["answers"])


def _queries_file(work: Path) -> Path:
    path = work / "queries.json"
    path.write_text(json.dumps(corpus.QUERIES))
    return path


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _mib(folder: Path) -> float:
    return file_bytes(folder) / 2**20
