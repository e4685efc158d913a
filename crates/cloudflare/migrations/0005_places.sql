-- What begins in a chunk under other headings, pages and rows in it, counted from its first byte, both as JSON; the header of the table that it begins in. `page` is the
-- one that it begins on.
ALTER TABLE chunks ADD COLUMN sections TEXT;
ALTER TABLE chunks ADD COLUMN places TEXT;
ALTER TABLE chunks ADD COLUMN table_header TEXT;

DROP TRIGGER chunk_entered;
DROP VIEW chunk_entries;
CREATE VIEW chunk_entries AS SELECT tenant, document, generation, part, ordinal, vector, hash, text, start, "end", tokens,
  terms, page, sections, places, table_header, headings, '' AS keywords FROM chunks;
CREATE TRIGGER chunk_entered INSTEAD OF INSERT ON chunk_entries
BEGIN
  INSERT INTO chunks (tenant, document, generation, part, ordinal, vector, hash, text, start, "end", tokens, terms, page,
    sections, places, table_header, headings) VALUES (NEW.tenant, NEW.document, NEW.generation, NEW.part, NEW.ordinal, NEW.vector,
    NEW.hash, NEW.text, NEW.start, NEW."end", NEW.tokens, NEW.terms, NEW.page, NEW.sections, NEW.places, NEW.table_header, NEW.headings);
  INSERT INTO keyword_index (rowid, terms) VALUES (last_insert_rowid(), NEW.keywords);
END;
