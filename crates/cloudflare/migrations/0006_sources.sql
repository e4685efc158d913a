-- Buckets whose objects are documents.

-- A source's newest sync.
CREATE TABLE sources (
  -- Its name.
  source TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  run INTEGER NOT NULL,
  -- listing, sweeping (these run); done, refused, failed.
  state TEXT NOT NULL,
  confirm_empty INTEGER NOT NULL DEFAULT 0,
  -- Another was asked for while it ran: 1 if an empty listing is meant then, else 0.
  again INTEGER,
  -- The last key of the last page that was counted.
  position TEXT,
  listed INTEGER NOT NULL DEFAULT 0,
  left_out INTEGER NOT NULL DEFAULT 0,
  changed INTEGER NOT NULL DEFAULT 0,
  code TEXT,
  message TEXT,
  started_at INTEGER NOT NULL,
  moved_at INTEGER NOT NULL
) WITHOUT ROWID;

-- What is known of an object. The row comes before the document, and goes after it.
CREATE TABLE source_objects (
  source TEXT NOT NULL,
  key TEXT NOT NULL,
  tenant TEXT NOT NULL,
  document TEXT NOT NULL,
  -- new, taken, skipped, failed.
  state TEXT NOT NULL DEFAULT 'new',
  -- R2's, of the object that was looked at; NULL to look again.
  version TEXT,
  -- Hashes of what else shaped the document, and of who could read what.
  stamp TEXT NOT NULL DEFAULT '',
  -- The document's original then; empty when another key of the source had the document.
  original TEXT,
  bytes INTEGER NOT NULL DEFAULT 0,
  -- A look was asked for.
  pending INTEGER NOT NULL DEFAULT 0,
  -- Grows with every write, also over deletions.
  edition INTEGER NOT NULL,
  code TEXT,
  message TEXT,
  -- The run whose listing did not have it.
  missing INTEGER,
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE INDEX source_objects_by_state ON source_objects (source, state, pending);
CREATE INDEX source_objects_by_document ON source_objects (tenant, document);
CREATE INDEX source_objects_missing ON source_objects (source, missing, key) WHERE missing IS NOT NULL;
CREATE INDEX source_objects_remarks ON source_objects (source, changed_at) WHERE code IS NOT NULL;
