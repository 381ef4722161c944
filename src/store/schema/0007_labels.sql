-- What people say about chains. The history only grows; what it amounts to is kept beside it by a trigger,
-- so that a filter finds labelled chains by index. The views are part of the public contract.

CREATE TABLE label_entries (
    id      INTEGER PRIMARY KEY,
    chain   INTEGER NOT NULL REFERENCES chains,
    ordinal INTEGER NOT NULL, -- its place in the chain's history, from 1
    at      TEXT NOT NULL,
    who     TEXT NOT NULL,
    action  TEXT NOT NULL
            CHECK (action IN ('accept', 'reject', 'edit', 'note', 'agree', 'disagree', 'undo')),
    step    INTEGER REFERENCES steps,         -- agree, disagree: the step with the verdict
    text    INTEGER REFERENCES texts,         -- edit, note
    undoes  INTEGER REFERENCES label_entries, -- undo: what it takes back
    UNIQUE (chain, ordinal)
) STRICT;
CREATE UNIQUE INDEX label_entries_by_undone ON label_entries (undoes) WHERE undoes IS NOT NULL;
CREATE INDEX label_entries_by_step ON label_entries (step, ordinal) WHERE step IS NOT NULL;

CREATE TRIGGER label_entries_stay BEFORE UPDATE ON label_entries
BEGIN
    SELECT raise(ABORT, 'the history of labels only grows');
END;
CREATE TRIGGER label_entries_stay_there BEFORE DELETE ON label_entries
BEGIN
    SELECT raise(ABORT, 'the history of labels only grows');
END;

-- What the history amounts to: the last entries that nobody took back.
ALTER TABLE chains ADD COLUMN label TEXT CHECK (label IN ('accept', 'reject', 'edit'));
ALTER TABLE chains ADD COLUMN chosen INTEGER REFERENCES texts;
ALTER TABLE chains ADD COLUMN note INTEGER REFERENCES texts;
CREATE INDEX chains_by_label ON chains (label);
-- Whether a person agrees with the verdict.
ALTER TABLE verdicts ADD COLUMN agreed INTEGER CHECK (agreed IN (0, 1));
CREATE INDEX verdicts_by_agreement ON verdicts (agreed) WHERE agreed IS NOT NULL;

CREATE VIEW standing_labels AS
SELECT * FROM label_entries e
WHERE e.action <> 'undo' AND NOT EXISTS (SELECT 1 FROM label_entries u WHERE u.undoes = e.id);

CREATE TRIGGER labels_follow AFTER INSERT ON label_entries
BEGIN
    UPDATE chains SET
        label = (SELECT action FROM standing_labels WHERE chain = new.chain
            AND action IN ('accept', 'reject', 'edit') ORDER BY ordinal DESC LIMIT 1),
        chosen = (SELECT text FROM standing_labels WHERE chain = new.chain
            AND action = 'edit' ORDER BY ordinal DESC LIMIT 1),
        note = (SELECT text FROM standing_labels WHERE chain = new.chain
            AND action = 'note' ORDER BY ordinal DESC LIMIT 1)
    WHERE id = new.chain;
END;
CREATE TRIGGER agreement_follows AFTER INSERT ON label_entries
WHEN new.step IS NOT NULL OR new.undoes IS NOT NULL
BEGIN
    UPDATE verdicts SET agreed = (SELECT action = 'agree' FROM standing_labels l
        WHERE l.step = verdicts.step ORDER BY ordinal DESC LIMIT 1)
    WHERE step = ifnull(new.step, (SELECT step FROM label_entries WHERE id = new.undoes));
END;

CREATE VIEW v_labels AS
SELECT
    c.chain_id, r.run_id, e.ordinal, e.at, e.who, e.action,
    s.ordinal AS step, s.principle AS principle_id,
    (SELECT body FROM texts WHERE id = e.text) AS text,
    (SELECT ordinal FROM label_entries WHERE id = e.undoes) AS undoes,
    e.action <> 'undo' AND NOT EXISTS (SELECT 1 FROM label_entries u WHERE u.undoes = e.id) AS standing
FROM label_entries e JOIN chains c ON c.id = e.chain JOIN runs r ON r.id = c.run
LEFT JOIN steps s ON s.id = e.step;

DROP VIEW v_chains;
CREATE VIEW v_chains AS
SELECT
    c.chain_id, r.run_id, p.prompt_id,
    (SELECT body FROM texts WHERE id = p.text) AS prompt,
    c.sample, c.position, c.status, c.stop_reason, c.rounds,
    (SELECT body FROM texts WHERE id = c.draft) AS draft,
    (SELECT body FROM texts WHERE id = c.final) AS final,
    c.revised, c.changed, c.length_ratio,
    json_array_length(c.regressed) AS regressions,
    (SELECT ifnull(group_concat(value, ','), '') FROM json_each(c.regressed)) AS regressed_principles,
    (SELECT ifnull(group_concat(principle, ','), '') FROM (
        SELECT s.principle FROM steps s JOIN verdicts v ON v.step = s.id
        WHERE s.chain = c.id AND s.kind = 'critique' AND v.violated
        GROUP BY s.principle ORDER BY min(s.ordinal))) AS violated_principles,
    (SELECT ifnull(group_concat(flag, ','), '') FROM (
        SELECT DISTINCT f.flag FROM steps s JOIN step_flags f ON f.step = s.id
        WHERE s.chain = c.id ORDER BY f.flag)) AS flags,
    c.steps, c.prompt_tokens, c.cached_tokens, c.tokens, c.error,
    c.label,
    (SELECT body FROM texts WHERE id = c.chosen) AS chosen,
    (SELECT body FROM texts WHERE id = c.note) AS note
FROM chains c JOIN runs r ON r.id = c.run JOIN prompts p ON p.id = c.prompt;

DROP VIEW v_verdicts;
CREATE VIEW v_verdicts AS
SELECT
    c.chain_id || ':' || s.ordinal AS step_id, c.chain_id, r.run_id, s.ordinal, s.round, s.kind,
    s.principle AS principle_id, v.violated, v.probability, v.severity, v.quote, v.quote_verified,
    (SELECT body FROM texts WHERE id = v.critique) AS critique,
    v.source, v.agreed
FROM verdicts v JOIN steps s ON s.id = v.step JOIN chains c ON c.id = s.chain JOIN runs r ON r.id = c.run;
