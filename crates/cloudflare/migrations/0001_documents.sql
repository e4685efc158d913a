-- Documents, their generations, parts and chunks, the ledger of vectors, the keyword index, and API keys.
-- Times are milliseconds since 1970-01-01 UTC. Every statement can run again.

CREATE TABLE IF NOT EXISTS tenants (
  tenant TEXT PRIMARY KEY,
  -- Raised whenever what the tenant serves changes; part of every cache key.
  epoch INTEGER NOT NULL DEFAULT 0,
  -- Served chunks and their terms: BM25's statistics, the tenant's alone.
  chunks INTEGER NOT NULL DEFAULT 0,
  terms INTEGER NOT NULL DEFAULT 0,
  -- What the tenant's vectors were made with.
  fingerprint TEXT
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS documents (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  -- Generation in which this life of the id began.
  incarnation INTEGER NOT NULL,
  -- The counter; survives deletion, so that no number is given twice.
  newest INTEGER NOT NULL,
  served INTEGER,
  deleted_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS generations (
  tenant TEXT NOT NULL,
  document TEXT NOT NULL,
  generation INTEGER NOT NULL,
  -- queued, processing, searchable, indexed, failed; dead once nothing serves or will serve it.
  status TEXT NOT NULL,
  object_key TEXT NOT NULL,
  title TEXT,
  media_type TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  content_hash TEXT NOT NULL,
  metadata TEXT NOT NULL,
  settings TEXT NOT NULL,
  parts_total INTEGER NOT NULL DEFAULT 0,
  chunk_count INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER NOT NULL DEFAULT 0,
  terms INTEGER NOT NULL DEFAULT 0,
  embedded INTEGER NOT NULL DEFAULT 0,
  reused INTEGER NOT NULL DEFAULT 0,
  deleted INTEGER NOT NULL DEFAULT 0,
  error_code TEXT,
  error_message TEXT,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, document, generation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS generations_by_status ON generations (status, updated_at);
CREATE INDEX IF NOT EXISTS generations_by_object ON generations (object_key);

CREATE TABLE IF NOT EXISTS parts (
  tenant TEXT NOT NULL,
  document TEXT NOT NULL,
  generation INTEGER NOT NULL,
  part INTEGER NOT NULL,
  done INTEGER NOT NULL DEFAULT 0,
  chunks INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER NOT NULL DEFAULT 0,
  terms INTEGER NOT NULL DEFAULT 0,
  embedded INTEGER NOT NULL DEFAULT 0,
  reused INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, document, generation, part)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS chunks (
  -- Also the rowid in keyword_index; never given twice, so that a late delete hits nothing new.
  row INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  document TEXT NOT NULL,
  generation INTEGER NOT NULL,
  part INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  vector TEXT NOT NULL,
  hash TEXT NOT NULL,
  text TEXT NOT NULL,
  start INTEGER NOT NULL,
  "end" INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  terms INTEGER NOT NULL,
  page INTEGER,
  headings TEXT NOT NULL,
  UNIQUE (tenant, document, generation, ordinal)
);
CREATE INDEX IF NOT EXISTS chunks_by_vector ON chunks (vector);

-- Vectorize cannot list: what is not in here is not known to exist. A row comes before the upsert and goes after the
-- delete was acknowledged.
CREATE TABLE IF NOT EXISTS vectors (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  document TEXT NOT NULL,
  born INTEGER NOT NULL,
  state TEXT NOT NULL,
  changed_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS vectors_by_document ON vectors (tenant, document, born);
CREATE INDEX IF NOT EXISTS vectors_by_state ON vectors (state, changed_at);

-- Terms are hashes that carry the tenant, made in Rust; the tokenizer only splits at spaces.
CREATE VIRTUAL TABLE IF NOT EXISTS keyword_index USING fts5(terms, content='', contentless_delete=1, tokenize='ascii');
CREATE VIRTUAL TABLE IF NOT EXISTS keyword_terms USING fts5vocab(keyword_index, 'instance');

CREATE TABLE IF NOT EXISTS keys (
  -- SHA-256 of the key; the key itself is stored nowhere.
  hash TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  scopes TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS dead_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL
);

-- The flip and the deletion are one statement each; what hangs on them happens in the same transaction.
CREATE TRIGGER IF NOT EXISTS documents_served AFTER UPDATE OF served ON documents WHEN NEW.served IS NOT OLD.served
BEGIN
  UPDATE tenants SET
    epoch = epoch + 1,
    chunks = chunks
      + coalesce((SELECT chunk_count FROM generations WHERE tenant = NEW.tenant AND document = NEW.id AND generation = NEW.served), 0)
      - coalesce((SELECT chunk_count FROM generations WHERE tenant = NEW.tenant AND document = NEW.id AND generation = OLD.served), 0),
    terms = terms
      + coalesce((SELECT terms FROM generations WHERE tenant = NEW.tenant AND document = NEW.id AND generation = NEW.served), 0)
      - coalesce((SELECT terms FROM generations WHERE tenant = NEW.tenant AND document = NEW.id AND generation = OLD.served), 0)
  WHERE tenant = NEW.tenant;
END;
