-- Plans, waiting, re-indexing, and a ledger that knows texts. What was stored before stays and is served; it counts as made
-- with other settings.

-- What a generation was made from. `title` may change while the text stays; `embedded_title` is the one before the texts.
ALTER TABLE generations ADD COLUMN embedded_title TEXT;
ALTER TABLE generations ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
-- Hash of the metadata that its vectors carry.
ALTER TABLE generations ADD COLUMN fields TEXT NOT NULL DEFAULT '';
-- `parts_total` are the parts planned so far; where planning goes on; whether these are all.
ALTER TABLE generations ADD COLUMN resume TEXT;
ALTER TABLE generations ADD COLUMN plan_complete INTEGER NOT NULL DEFAULT 0;
-- When it was served first; NULL if it never was.
ALTER TABLE generations ADD COLUMN served_at INTEGER;
-- Left alone until then, how often since it last got on, and why.
ALTER TABLE generations ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN postponed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN waiting_code TEXT;
ALTER TABLE generations ADD COLUMN waiting_message TEXT;

UPDATE generations SET
  embedded_title = title,
  fingerprint = coalesce((SELECT fingerprint FROM tenants WHERE tenant = generations.tenant), ''),
  -- `settings` were two hashes; the second one is of this metadata.
  fields = substr(settings, instr(settings, '.') + 1),
  plan_complete = status IN ('searchable', 'indexed'),
  served_at = iif(status IN ('searchable', 'indexed'), updated_at, NULL);

-- Statuses: queued, processing, parked (these are open); staged, searchable, indexed, failed; stale, when its embedding is
-- not wanted any more and it is to be made anew; dead.
DROP INDEX generations_by_status;
CREATE INDEX generations_by_status ON generations (status, updated_at, bytes);

-- Listings, and deletions by prefix, a slice at a time, must not read all tombstones.
CREATE INDEX documents_living ON documents (tenant, id) WHERE deleted_at IS NULL;

-- Which chunks an unfinished part has, and what its texts were handed in under: both JSON.
ALTER TABLE parts ADD COLUMN spans TEXT NOT NULL DEFAULT '[]';
ALTER TABLE parts ADD COLUMN ticket TEXT;

-- Hash of the embedded text. States: intent (its upsert may be under way), written, and, once named to be deleted, deleting
-- (was written) or discarding (was an intent).
ALTER TABLE vectors ADD COLUMN hash TEXT NOT NULL DEFAULT '';
-- Consumers that entered it and have not said yet that it is written: copies of a message may be at work at once.
ALTER TABLE vectors ADD COLUMN writers INTEGER NOT NULL DEFAULT 0;
UPDATE vectors SET hash = coalesce((SELECT hash FROM chunks WHERE vector = vectors.id LIMIT 1), '');
DROP INDEX vectors_by_document;
CREATE INDEX vectors_by_text ON vectors (tenant, document, hash);

-- EmbeddingSettings as JSON: `fingerprint` in full, and what is to replace it; since when documents are made anew.
ALTER TABLE tenants ADD COLUMN embedding TEXT;
ALTER TABLE tenants ADD COLUMN next TEXT;
ALTER TABLE tenants ADD COLUMN next_fingerprint TEXT;
ALTER TABLE tenants ADD COLUMN reindexing INTEGER;
-- Since when also what is up to date.
ALTER TABLE tenants ADD COLUMN reindex_force INTEGER;
CREATE INDEX tenants_reindexing ON tenants (reindexing) WHERE reindexing IS NOT NULL;

-- A chunk and its keyword row come and go together: chunks are written through this view, whose `keywords` only the index
-- keeps.
CREATE VIEW chunk_entries AS SELECT tenant, document, generation, part, ordinal, vector, hash, text, start, "end", tokens,
  terms, page, headings, '' AS keywords FROM chunks;
CREATE TRIGGER chunk_entered INSTEAD OF INSERT ON chunk_entries
BEGIN
  INSERT INTO chunks (tenant, document, generation, part, ordinal, vector, hash, text, start, "end", tokens, terms, page,
    headings) VALUES (NEW.tenant, NEW.document, NEW.generation, NEW.part, NEW.ordinal, NEW.vector, NEW.hash, NEW.text,
    NEW.start, NEW."end", NEW.tokens, NEW.terms, NEW.page, NEW.headings);
  INSERT INTO keyword_index (rowid, terms) VALUES (last_insert_rowid(), NEW.keywords);
END;
CREATE TRIGGER chunk_left AFTER DELETE ON chunks
BEGIN
  DELETE FROM keyword_index WHERE rowid = OLD.row;
END;

-- The flip and the deletion are one statement each, for one document or for many.
DROP TRIGGER documents_served;
CREATE TRIGGER documents_served AFTER UPDATE OF served ON documents WHEN NEW.served IS NOT OLD.served
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
  UPDATE generations SET status = 'dead'
  WHERE tenant = NEW.tenant AND document = NEW.id AND generation < NEW.served AND status <> 'dead';
END;
CREATE TRIGGER documents_deleted AFTER UPDATE OF deleted_at ON documents WHEN NEW.deleted_at IS NOT NULL
BEGIN
  UPDATE generations SET status = 'dead' WHERE tenant = NEW.tenant AND document = NEW.id AND status <> 'dead';
END;
