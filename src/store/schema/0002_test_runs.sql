-- Tests of principles. A test run is one execution of the tests of a constitution with one model; its
-- results come in the order of the constitution. The view is part of the public contract.

CREATE TABLE test_runs (
    id           INTEGER PRIMARY KEY,
    created_at   TEXT NOT NULL,
    constitution INTEGER NOT NULL REFERENCES texts, -- resolved, canonical JSON
    pack_name    TEXT NOT NULL,
    pack_digest  TEXT NOT NULL,
    pack         INTEGER NOT NULL REFERENCES texts,
    model        INTEGER NOT NULL REFERENCES models,
    config       TEXT NOT NULL, -- JSON, keys in order: threshold, sampling, seed
    versions     TEXT NOT NULL  -- JSON
) STRICT;
CREATE INDEX test_runs_by_constitution ON test_runs (constitution);

CREATE TABLE test_results (
    test_run         INTEGER NOT NULL REFERENCES test_runs,
    ordinal          INTEGER NOT NULL,
    principle        TEXT NOT NULL,
    principle_digest TEXT NOT NULL,
    test             INTEGER NOT NULL, -- its place among the principle's tests, from 0
    repeat           INTEGER NOT NULL, -- from 0
    prompt           INTEGER NOT NULL REFERENCES texts,
    response         INTEGER NOT NULL REFERENCES texts,
    expected         TEXT NOT NULL CHECK (expected IN ('violation', 'ok')),
    violated         INTEGER CHECK (violated IN (0, 1)), -- NULL without a verdict
    probability      REAL,
    severity         TEXT CHECK (severity IN ('minor', 'major', 'critical')),
    quote            TEXT,
    quote_verified   INTEGER CHECK (quote_verified IN (0, 1)),
    critique         INTEGER REFERENCES texts,
    source           TEXT CHECK (source IN ('model', 'check')),
    error            TEXT,
    PRIMARY KEY (test_run, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE test_calls (
    test_run   INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations,
    reused     INTEGER NOT NULL CHECK (reused IN (0, 1)),
    PRIMARY KEY (test_run, ordinal, attempt),
    FOREIGN KEY (test_run, ordinal) REFERENCES test_results
) STRICT, WITHOUT ROWID;
CREATE INDEX test_calls_by_generation ON test_calls (generation);

CREATE VIEW v_tests AS
SELECT
    t.id AS test_run, t.created_at,
    c.body ->> '$.name' AS constitution, c.body ->> '$.version' AS constitution_version,
    'b3:' || lower(hex(c.digest)) AS constitution_digest,
    t.pack_name AS pack, t.pack_digest, m.name AS model, m.digest AS model_digest,
    t.config ->> '$.threshold' AS threshold, t.config,
    r.ordinal, r.principle AS principle_id, r.principle_digest, r.test, r.repeat,
    (SELECT body FROM texts WHERE id = r.prompt) AS prompt,
    (SELECT body FROM texts WHERE id = r.response) AS response,
    r.expected, r.violated,
    ifnull(r.violated = (r.expected = 'violation'), 0) AS correct,
    r.probability, r.severity, r.quote, r.quote_verified,
    (SELECT body FROM texts WHERE id = r.critique) AS critique,
    r.source, r.error
FROM test_results r JOIN test_runs t ON t.id = r.test_run JOIN texts c ON c.id = t.constitution
JOIN models m ON m.id = t.model;
