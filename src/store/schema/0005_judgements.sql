-- Judgements: which of two texts of a chain is better. A judge is everything that decides what it says
-- besides the texts: model, constitution, wording, mode. The views are part of the public contract.

CREATE TABLE judges (
    id           INTEGER PRIMARY KEY,
    judge_id     TEXT NOT NULL UNIQUE, -- made from everything below but the times and versions
    created_at   TEXT NOT NULL,
    mode         TEXT NOT NULL CHECK (mode IN ('choice', 'cot')),
    model        INTEGER NOT NULL REFERENCES models,
    constitution INTEGER NOT NULL REFERENCES texts, -- resolved, canonical JSON
    pack_name    TEXT NOT NULL,
    pack_digest  TEXT NOT NULL, -- of what the pack says to judges
    pack         INTEGER NOT NULL REFERENCES texts,
    config       TEXT NOT NULL, -- JSON, keys in order
    versions     TEXT NOT NULL  -- JSON
) STRICT;

-- Probabilities are of the second text being the better one.
CREATE TABLE judgements (
    id     INTEGER PRIMARY KEY,
    judge  INTEGER NOT NULL REFERENCES judges,
    chain  INTEGER NOT NULL REFERENCES chains,
    kind   TEXT NOT NULL CHECK (kind IN ('first-last', 'draft-each', 'adjacent', 'best')),
    first  INTEGER NOT NULL REFERENCES steps,
    second INTEGER NOT NULL REFERENCES steps,
    p_ab   REAL NOT NULL, -- the first text shown as (A)
    p_ba   REAL NOT NULL, -- the second text shown as (A)
    p      REAL NOT NULL, -- the mean, clamped after reasoning
    agree  INTEGER NOT NULL CHECK (agree IN (0, 1)),
    margin REAL NOT NULL  -- P(second) - P(first)
) STRICT;
CREATE UNIQUE INDEX judgements_once ON judgements (chain, judge, kind, first, second);

CREATE TABLE judgement_votes (
    judgement INTEGER NOT NULL REFERENCES judgements,
    ordinal   INTEGER NOT NULL,
    principle TEXT NOT NULL,
    p_ab      REAL NOT NULL,
    p_ba      REAL NOT NULL,
    PRIMARY KEY (judgement, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE judgement_calls (
    judgement  INTEGER NOT NULL,
    vote       INTEGER NOT NULL,
    attempt    INTEGER NOT NULL, -- its place among the calls of the vote, from 1
    shown      TEXT NOT NULL CHECK (shown IN ('ab', 'ba')),
    generation INTEGER NOT NULL REFERENCES generations,
    reused     INTEGER NOT NULL CHECK (reused IN (0, 1)),
    PRIMARY KEY (judgement, vote, attempt),
    FOREIGN KEY (judgement, vote) REFERENCES judgement_votes
) STRICT, WITHOUT ROWID;

CREATE VIEW v_judgements AS
SELECT
    c.chain_id, r.run_id, j.kind,
    c.chain_id || ':' || f.ordinal AS first_step, c.chain_id || ':' || s.ordinal AS second_step,
    (SELECT body FROM texts WHERE id = f.output) AS first_text,
    (SELECT body FROM texts WHERE id = s.output) AS second_text,
    (SELECT group_concat(principle, ',') FROM (
        SELECT principle FROM judgement_votes WHERE judgement = j.id ORDER BY ordinal)) AS principles,
    j.p_ab, j.p_ba, j.p, j.agree, j.margin,
    g.judge_id, g.created_at, g.mode, m.name AS model, m.digest AS model_digest,
    m.digest = w.digest AS same_model,
    (SELECT body ->> '$.name' FROM texts WHERE id = g.constitution) AS constitution,
    (SELECT 'b3:' || lower(hex(digest)) FROM texts WHERE id = g.constitution) AS constitution_digest,
    g.pack_name AS pack, g.pack_digest, g.config
FROM judgements j JOIN judges g ON g.id = j.judge JOIN models m ON m.id = g.model
JOIN chains c ON c.id = j.chain JOIN runs r ON r.id = c.run JOIN models w ON w.id = r.model
JOIN steps f ON f.id = j.first JOIN steps s ON s.id = j.second;

CREATE VIEW v_votes AS
SELECT
    c.chain_id, g.judge_id, j.kind,
    c.chain_id || ':' || f.ordinal AS first_step, c.chain_id || ':' || s.ordinal AS second_step,
    v.ordinal, v.principle AS principle_id, v.p_ab, v.p_ba,
    (SELECT count(*) FROM judgement_calls WHERE judgement = j.id AND vote = v.ordinal) AS calls
FROM judgement_votes v JOIN judgements j ON j.id = v.judgement JOIN judges g ON g.id = j.judge
JOIN chains c ON c.id = j.chain JOIN steps f ON f.id = j.first JOIN steps s ON s.id = j.second;
