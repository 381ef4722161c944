-- What happened in a run, in the order in which it was recorded. Steps and ends of chains that were there
-- before have no time. The view is part of the public contract.

CREATE TABLE events (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL REFERENCES runs,
    at    TEXT,
    what  TEXT NOT NULL, -- running, interrupted, done: the run's state; step; end: of a chain
    chain INTEGER REFERENCES chains,
    step  INTEGER REFERENCES steps
) STRICT;
CREATE INDEX events_by_run ON events (run, id);

INSERT INTO events (run, at, what) SELECT id, created_at, 'running' FROM runs ORDER BY id;
INSERT INTO events (run, what, chain, step)
    SELECT c.run, 'step', s.chain, s.id FROM steps s JOIN chains c ON c.id = s.chain ORDER BY s.id;
INSERT INTO events (run, what, chain) SELECT run, 'end', id FROM chains WHERE status <> 'running' ORDER BY id;
INSERT INTO events (run, at, what) SELECT id, updated_at, state FROM runs WHERE state <> 'running' ORDER BY id;

CREATE VIEW v_events AS
SELECT
    e.id AS event, r.run_id, e.at, e.what, c.chain_id, s.ordinal, s.round, s.kind,
    s.principle AS principle_id, v.violated, v.probability, s.adopted,
    CASE WHEN e.what = 'end' THEN c.stop_reason END AS stop_reason
FROM events e JOIN runs r ON r.id = e.run LEFT JOIN chains c ON c.id = e.chain
LEFT JOIN steps s ON s.id = e.step LEFT JOIN verdicts v ON v.step = e.step;
