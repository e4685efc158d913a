-- What a tenant spent on searches and answers on a day, in neurons; kept for tenants with a daily limit only.
CREATE TABLE spending (
  tenant TEXT NOT NULL,
  -- Days since 1970-01-01, UTC.
  day INTEGER NOT NULL,
  neurons REAL NOT NULL,
  PRIMARY KEY (tenant, day)
) WITHOUT ROWID;
