-- Answers that may be given again, and tokens beside neurons.

ALTER TABLE spending ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;

CREATE TABLE answers (
  tenant TEXT NOT NULL,
  -- Hash of the request and of all settings.
  key TEXT NOT NULL,
  -- The tenant's, from before the search.
  epoch INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;

-- What was answered from other documents is not only never given again: nothing of a deleted document stays.
CREATE TRIGGER answers_outdated AFTER UPDATE OF epoch ON tenants WHEN NEW.epoch IS NOT OLD.epoch
BEGIN
  DELETE FROM answers WHERE tenant = NEW.tenant;
END;

-- The vector leg finds a document later than the keyword leg: what was answered in between may not stay.
CREATE TRIGGER generations_indexed AFTER UPDATE OF status ON generations WHEN NEW.status = 'indexed' AND OLD.status IS NOT 'indexed'
BEGIN
  UPDATE tenants SET epoch = epoch + 1 WHERE tenant = NEW.tenant;
END;
