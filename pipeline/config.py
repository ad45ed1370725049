"""Settings: one table of names, types and defaults, in sections that stages declare.

A stage names the sections that it reads in its signature, and only those enter the key of its artefact. To people the names are
flat (`chunk_budget = 1500` in `codeintel.toml`, `CODEINTEL_CHUNK_BUDGET=1500` in the environment).

Belongs here: settings that change what is built or answered. Not here: bounds, files and the environment (`settings_files`),
command-line flags and where the store lies (`interfaces`), and how many processes work (`workers`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from pipeline.errors import ConfigError


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the settings sections; a stage parameter of such a type makes the section part of the stage's key."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = None
    """Names of the settings that change what is built or answered, and so are what a version is of; None: all."""

    def keyed(self) -> dict[str, Any]:
        """What of the section enters the keys of the stages that read it, as plain JSON values: what a version is of."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in values.items() if self.OF_VERSIONS is None or name in self.OF_VERSIONS}


class SourceSettings(Section, frozen=True, kw_only=True):
    """Which files are indexed. Sizes in bytes."""

    max_file_bytes: int = 1 << 20
    include: tuple[str, ...] = ()
    """Glob patterns (gitignore syntax); when given, only matching files are considered."""
    exclude: tuple[str, ...] = ()
    """Glob patterns (gitignore syntax) of files that count as ignored."""
    index_vendored: bool = False
    index_generated: bool = False
    index_catalogues: bool = False


class ScipSettings(Section, frozen=True, kw_only=True):
    """Where symbols come from."""

    scip: Literal["auto", "off"] = "auto"
    """`auto`: run the indexers that are found; `off`: occurrences from syntax alone (`--no-scip`)."""
    scip_files: tuple[str, ...] = ()
    """SCIP indexes built elsewhere, `LANGUAGE=PATH`; they take the place of an indexer's run."""
    scip_python: str = ""
    scip_typescript: str = ""
    """Paths of indexers; when empty, Python is indexed by `ty-scip`, and TypeScript by the scip-typescript on PATH."""
    scip_timeout: int = 600
    """Seconds that one indexer may take."""
    scip_refresh: Literal["always", "stale", "nightly"] = "stale"
    scip_stale_share: float = 0.1
    """When indexers run again: at every change; once so large a share of a language's files changed; at night."""


class CstSettings(Section, frozen=True, kw_only=True):
    """Whether concrete syntax is kept."""

    cst: bool = True


class ModuleSettings(Section, frozen=True, kw_only=True):
    """How module facts are counted."""

    churn_days: int = 365
    """Commits that are at most so many days older than the indexed commit count."""


class ChunkSettings(Section, frozen=True, kw_only=True):
    """How files are cut, and how chunks are named."""

    chunk_budget: int = 1500
    """The most non-whitespace bytes of one chunk."""
    id_strategy: Literal["content", "span", "sequence"] = "content"
    id_salt: str = ""


class EmbedSettings(Section, frozen=True, kw_only=True):
    """Which embedder makes the vectors."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = frozenset({"embedder"})
    # All else that vectors depend on shows in the embedder's digest, which the stages that encode use.

    embedder: Literal["static", "sentence-transformers", "onnx", "http"] = "static"
    embed_model: str = ""
    """`sentence-transformers`: a folder, or a model's name on the hub, `OWNER/NAME[@REVISION]`; `onnx`: a folder, or nothing
    for MiniLM from the extra `minilm`; `http`: the model's name at the server."""
    embed_url: str = ""
    """`http`: where `/embeddings` is appended to, for example `http://127.0.0.1:8000/v1`."""
    embed_api_key_variable: str = ""
    """`http`: the environment variable that holds the key; without it, no key is sent."""
    embed_document_prefix: str | None = None
    """Written before every document; when not given, what the model's folder says."""
    embed_query_prefix: str | None = None
    """Written before every query; when not given, what the model's folder says."""
    embed_max_tokens: int = 0
    """Tokens that are read of a text; 0: as many as the model's folder says. `http`: asks the server, as vLLM takes it."""
    embed_dimension: int = 0
    """The dimension that the vectors must have; 0: any."""
    embed_probe: bool = True
    """`http`: know the model by the vectors of fixed texts; `false` trusts its name, and needs `embed_dimension`."""
    embed_trust_remote_code: bool = False
    """`sentence-transformers`: run Python code that comes with a model."""
    embed_allow_download: bool = False
    """`sentence-transformers`: fetch a model that `embed_model` names from the hub, where it is not in the hub's cache."""
    embed_device: Literal["auto", "cpu", "cuda"] = "auto"
    """`sentence-transformers`: `auto` takes the GPU where there is one."""
    embed_threads: int = 1
    """`onnx`: threads of each process that encodes."""
    embed_batch_size: int = 32
    """Texts that a model or server is given at once. `onnx` takes one at a time."""
    embed_requests: int = 4
    """`http`: requests on their way at once."""
    embed_timeout: int = 60
    """`http`: seconds without a byte from the server after which a request has failed, and for the whole of an answer that has
    begun."""
    embed_retries: int = 3
    """`http`: how often a failed request is tried again."""
    embed_query_timeout: int = 5
    """`http`: the same seconds for a query, which is tried once: the other channels answer without it."""

    def for_queries(self) -> EmbedSettings:
        """The same embedder, waited for as long as somebody who searches does."""
        if self.embedder != "http":
            # Waits for nobody: a second model would be loaded for nothing.
            return self
        return msgspec.structs.replace(self, embed_timeout=self.embed_query_timeout, embed_retries=0)


class XtrSettings(Section, frozen=True, kw_only=True):
    """Whether tokens are indexed for late interaction, and by which encoder. How they are searched is `SearchSettings`."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = frozenset({"xtr", "xtr_bits"})
    # All else that token vectors depend on shows in the encoder's digest.

    xtr: Literal["off", "on"] = "off"
    xtr_model: str = ""
    """The whole path of a model's folder: ColBERT, XTR, or any encoder; without one, MiniLM from the extra `minilm`."""
    xtr_bits: Literal[2, 4, 8] = 4
    """Of each dimension of a stored token."""
    xtr_max_tokens: int = 512
    """Tokens that are read of a chunk, in windows as long as the model takes."""
    xtr_device: Literal["auto", "cpu", "cuda"] = "auto"
    """For a model in a folder; `auto` takes the GPU where there is one."""
    xtr_threads: int = 1
    """MiniLM: threads of each process that encodes."""
    xtr_batch_size: int = 32
    """Windows that a model in a folder is given at once."""


FaissFamily = Literal[
    "auto", "flat", "sq8", "ivf_flat", "ivf_sq8", "ivf_pq", "ivf_pq_refine", "ivf_pqfs", "ivf_rabitq", "hnsw", "hnsw_sq8"
]


class IndexSettings(Section, frozen=True, kw_only=True):
    """How vectors are indexed. In numbers, 0 leaves the choice to the family and the size of the corpus."""

    faiss_family: FaissFamily = "auto"
    faiss_workload: Literal["mixed", "reads"] = "mixed"
    """What `auto` prefers: `reads` pays a slow build for faster searches."""
    faiss_memory_mb: int = 0
    """What `auto` keeps the index below, as far as a family exists that is small enough. 0: no bound."""
    nlist: int = 0
    """Inverted lists."""
    pq_m: int = 0
    """Sub-quantisers of product quantisation; the dimension must be a multiple."""
    pq_nbits: int = 8
    """Bits a sub-quantiser (`ivf_pq` and `ivf_pq_refine`; FastScan has 4)."""
    opq_m: int = 0
    """Blocks of the rotation learned before product quantisation; 0: no rotation."""
    hnsw_M: int = 32  # noqa: N815 - the field's name
    """Links a vector."""
    hnsw_efConstruction: int = 80  # noqa: N815 - the field's name
    """Candidates kept while linking."""


class SpladeSettings(Section, frozen=True, kw_only=True):
    """Whether chunks are indexed by learned sparse weights, and by which model."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = frozenset({"splade"})
    # All else that the index depends on shows in the encoder's digest, which the stage uses.

    splade: Literal["off", "on"] = "off"
    splade_model: str = ""
    """A folder of this machine, or a model's name on the hub, `OWNER/NAME[@REVISION]`."""
    splade_max_tokens: int = 0
    """Tokens that are read of a text; 0: as many as the model's folder says."""
    splade_document_terms: int = 256
    """Terms that are kept of a chunk, the heaviest."""
    splade_bits: Literal[8, 16] = 16
    """Of a stored weight: steps of 1/64 up to 4, or of 1/4096 up to 16."""
    splade_batch_size: int = 0
    """Texts that the model is given at once; 0: one on a processor, 16 on a GPU."""
    splade_device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU where there is one."""
    splade_trust_remote_code: bool = False
    """Run Python code that comes with a model."""
    splade_allow_download: bool = False
    """Fetch a model that `splade_model` names from the hub, where it is not in the hub's cache."""


class TuningSettings(Section, frozen=True, kw_only=True):
    """How the operating point of an index that is not exact is found."""

    target_recall: float = 0.99
    """The share of the ten nearest vectors that a search must find, as the lower bound of what is measured."""
    tuning_preset: Literal["auto", "small", "medium", "large"] = "auto"
    """How many queries it is measured on; `auto` goes by the size of the corpus."""
    autotune_on_start: bool = True
    """Measure when an index is built; else it is searched at the first point of its family until `indexctl tune --lock`."""


class SearchSettings(Section, frozen=True, kw_only=True):
    """How channels are weighed and searched at query time. Not part of any artefact's key; recorded in the manifest.

    `default_nprobe`, `hnsw_efSearch` and `refine_k_factor` take the place of what the index says of itself, unless they are 0.
    """

    default_k: int = 10
    default_nprobe: int = 0
    """Inverted lists visited for a query."""
    hnsw_efSearch: int = 0  # noqa: N815 - the field's name
    """Candidates kept while walking the graph."""
    refine_k_factor: float = 0.0
    """Candidates re-ranked on true vectors for each one asked."""
    use_gpu: bool = True
    """Search on a GPU where there is one and the family allows it."""
    gpu_clone_mode: Literal["replicate", "shard"] = "replicate"
    fusion: Literal["scores", "ranks"] = "scores"
    """How channels are added up: by their scores relative to their best, or by weighted reciprocal ranks."""
    rrf_k: float = 20.0
    """The constant of rank fusion: the higher, the less the first places stand out."""
    lexical_weight: float = 1.0
    """What a channel's best chunk gets from it. 0 turns the channel off; so for the others."""
    dense_weight: float = 0.7
    name_dense_factor: float = 0.5
    """What `dense_weight` is multiplied by for queries that are names; so for other kinds of queries."""
    path_dense_factor: float = 1.0
    question_dense_factor: float = 1.0
    phrase_dense_factor: float = 1.0
    sentence_dense_factor: float = 0.5
    body_boost: float = 1.0
    """What a word's BM25 score in the text of a chunk is multiplied by; so for the names that it defines, and its path."""
    names_boost: float = 1.0
    path_boost: float = 0.25
    file_name_boost: float = 0.5
    symbol_weight: float = 2.0
    """For queries that are names alone."""
    plain_word_factor: float = 0.5
    """What `symbol_weight` is multiplied by for a name that could as well be a word, such as `session`: it may be a topic."""
    embedded_name_factor: float = 0.15
    """What `symbol_weight` is multiplied by for names inside of a question or phrase."""
    path_weight: float = 2.0
    """For queries that are paths alone."""
    embedded_path_factor: float = 0.25
    """What `path_weight` is multiplied by for paths inside of other queries."""
    splade_weight: float = 0.5
    splade_query_terms: int = 32
    """Terms of a query that the channel `splade` looks up, the heaviest."""
    semantic_min_score: float = 0.0
    xtr_weight: float = 0.2
    """Of the channel `xtr`, where the version has one (`benchmarks/xtr.py`)."""
    xtr_tokens: int = 1000
    """The most similar tokens that are looked up for each token of a query."""
    xtr_lists: int = 32
    """Lists of tokens that are visited for each token of a query."""
    xtr_rerank: int = 0
    """How many of the best candidates are scored again token by token, after fusion; 0: none."""
    xtr_rerank_weight: float = 1.0
    """How much more the candidate counts whose tokens fit best."""
    xtr_spans: Literal["any", "definitions", "symbols"] = "any"
    """Which tokens of candidates are meant: all, those of names where they are defined, or those of all names."""
    xtr_span_bonus: float = 0.1
    """What is added to the similarity of tokens that `xtr_spans` means; 0: no other tokens count."""
    test_factor: float = 0.5
    """What the fused score of a chunk of a test is multiplied by, unless the query asks for tests; so for the others."""
    docs_factor: float = 0.3
    example_factor: float = 0.5
    superseded_factor: float = 0.3
    vendored_factor: float = 0.5
    generated_factor: float = 0.5
    private_factor: float = 0.7
    """Not for sentences: what one definition does is told of private ones, too."""
    stub_factor: float = 0.7
    reexport_factor: float = 0.5
    """For files that stand for their folder and define nothing themselves."""
    same_file_factor: float = 0.25
    """For every better chunk of its file a chunk's score is multiplied by this, for questions and phrases."""
    question_file_evidence: float = 1.0
    """How much more a chunk counts when the chunks of its file have the best sum of scores, for questions."""
    phrase_file_evidence: float = 0.25
    file_name_match: float = 0.25
    """How much more a chunk counts when the query holds all words of its file's name; not for sentences."""
    folder_match: float = 1.0
    """The same for the folder that its file lies in."""
    diversity: float = 0.3
    """How much of its score a result loses that is a copy of a better one; near-copies lose less. 0: nothing."""
    duckdb_memory_limit: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)? ?[KMGT]i?B$")] = "512MB"
    """As DuckDB writes it."""
    duckdb_threads: int = 2


class QuerySettings(Section, frozen=True, kw_only=True):
    """What every version is measured on: queries that are made from the repository itself."""

    eval_queries: int = 400
    """Test queries; fewer where the repository does not have as many. 0: versions are not evaluated."""


class EvalSettings(Section, frozen=True, kw_only=True):
    """How versions are measured."""

    eval_k: int = 10
    """The first so many results count."""
    coverage_queries: int = 1500
    """Definitions that coverage looks for, an even sample of all modules; 0: every one."""


class QualitySettings(Section, frozen=True, kw_only=True):
    """What quality a version must have to be published. `--allow-regression` publishes one that has not, and records it."""

    quality_tolerance: float = 0.01
    """How far nDCG may fall below that of the published version: a fall counts when its 95 % interval lies beyond this."""
    recall_bound: float = 0.9
    """The share of the nearest vectors that the operating point must find, over the test queries."""
    coverage_bound: float = 0.99
    """The share of definitions that must lie inside of chunks that are in every index."""
    found_bound: float = 0.5
    """The share of the definitions asked for that must be found within `eval_k`."""


class CatalogSettings(Section, frozen=True, kw_only=True):
    """What is made beside a published version for people's own tools. Neither part of a key nor of a version."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = frozenset()

    materialize_idmap: bool = False
    """After each publication, do what `indexctl idmap materialize` does."""


class TraceSettings(Section, frozen=True, kw_only=True):
    """What is kept of searches while tracing is on (`indexctl trace on`). Neither part of a key nor of a version."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = frozenset()

    trace_pool: int = 50
    """Candidates of each channel that are kept of one search."""
    trace_files: int = 500
    """How many times of writing are kept; the oldest go first. A process writes at its end, a server now and then."""
    trace_bytes: int = 64 << 20
    """Bytes that traces of one repository may take; the oldest go first."""


class WatchSettings(Section, frozen=True, kw_only=True):
    """When `indexctl watch` builds, in seconds. Neither part of a key nor of a version."""

    OF_VERSIONS: ClassVar[frozenset[str] | None] = frozenset()

    watch_debounce: float = 0.3
    """For so long nothing must have changed."""
    watch_most_delay: float = 5.0
    """When changes never end, a build waits no longer than that."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All sections. Field names are unique across sections, so that people write them flat."""

    source: SourceSettings = SourceSettings()
    scip: ScipSettings = ScipSettings()
    cst: CstSettings = CstSettings()
    modules: ModuleSettings = ModuleSettings()
    chunks: ChunkSettings = ChunkSettings()
    embed: EmbedSettings = EmbedSettings()
    index: IndexSettings = IndexSettings()
    splade: SpladeSettings = SpladeSettings()
    tuning: TuningSettings = TuningSettings()
    xtr: XtrSettings = XtrSettings()
    search: SearchSettings = SearchSettings()
    queries: QuerySettings = QuerySettings()
    evaluation: EvalSettings = EvalSettings()
    quality: QualitySettings = QualitySettings()
    catalog: CatalogSettings = CatalogSettings()
    trace: TraceSettings = TraceSettings()
    watch: WatchSettings = WatchSettings()

    def recorded(self) -> dict[str, Any]:
        """The settings that a version is of, by flat name: all that change what is built or answered."""
        return {name: value for section in self.__struct_fields__ for name, value in getattr(self, section).keyed().items()}

    def flat(self) -> dict[str, Any]:
        """Every setting by its flat name, as plain JSON values."""
        return {
            name: value
            for section in self.__struct_fields__
            for name, value in msgspec.to_builtins(getattr(self, section)).items()
        }

    def section(self, section_type: type[Section]) -> Section:
        """The section of a given type."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if type(value) is section_type:
                return value
        raise ConfigError(f"{section_type.__name__} is not a section of the settings.")
