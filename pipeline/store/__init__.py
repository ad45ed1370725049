"""The store: immutable objects addressed by their inputs, complete versions, CURRENT, and locks.

    <data>/
      store.json                    what this folder is, and its format
      _shared/embeddings/           vectors by text and embedder, for all repositories
      _shared/cst/                  parts of `cst_nodes` by the contents of their files, for all repositories
      _dagster/                     the Dagster instance of this store
      <repository>/                 an encoded name: none can nest in another or leave the store
        repository.json             where it is indexed from
        objects/<asset>/<key>/      results, a build cache
        refs/<asset>                the key that the asset last settled on
        versions/<version>/         complete published versions, hard links into objects where possible
        verified/<version>.json     which files of a version were digested, and what they looked like then
        CURRENT                     one line: the published version
        history.jsonl               every flip of CURRENT
        scan.cache                  stat data of the last scan
        builder.lock

`layout` knows the names, `objects` stores results of stages, `versions` opens what is published, `locks` keeps builders apart.
"""
