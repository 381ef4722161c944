-- The first schema. A file that was once made by a released version is never changed here: what changes
-- comes as the next numbered file.
--
-- Rows refer to each other by INTEGER keys, which depend on the order of writing and mean nothing outside
-- one file. What names a run, a chain or a step outside the file (run_id, chain_id) is made from content.
-- The views at the end are the public contract; the tables may change.

PRAGMA application_id = 0x616d6e64; -- "amnd"

-- Content ------------------------------------------------------------------------------------------

-- Every text of any length, once: prompts, messages, replies, outputs, packs, constitutions.
CREATE TABLE texts (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32), -- BLAKE3 of the body
    body   TEXT NOT NULL
) STRICT;

-- Conversations as a tree: each row adds one message to what `parent` holds, so that a prefix which
-- many requests share is there once.
CREATE TABLE conversations (
    id      INTEGER PRIMARY KEY,
    parent  INTEGER REFERENCES conversations,
    role    TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
    content INTEGER NOT NULL REFERENCES texts
) STRICT;
CREATE UNIQUE INDEX conversations_by_content ON conversations (ifnull(parent, 0), role, content);

CREATE TABLE models (
    id              INTEGER PRIMARY KEY,
    digest          TEXT NOT NULL,
    settings_digest TEXT NOT NULL,
    name            TEXT NOT NULL,
    identity        TEXT NOT NULL UNIQUE -- JSON, keys in order
) STRICT;

CREATE TABLE prompts (
    id           INTEGER PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32), -- of id, messages and metadata
    prompt_id    TEXT NOT NULL,
    conversation INTEGER REFERENCES conversations,
    text         INTEGER NOT NULL REFERENCES texts, -- what the person says last
    metadata     TEXT NOT NULL -- JSON
) STRICT;
CREATE INDEX prompts_by_text ON prompts (text);
CREATE INDEX prompts_by_name ON prompts (prompt_id);

-- Runs ---------------------------------------------------------------------------------------------

CREATE TABLE runs (
    id             INTEGER PRIMARY KEY,
    run_id         TEXT NOT NULL UNIQUE,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    active_seconds REAL NOT NULL DEFAULT 0,
    state          TEXT NOT NULL CHECK (state IN ('running', 'interrupted', 'done')),
    fingerprint    TEXT NOT NULL,
    config         TEXT NOT NULL, -- JSON
    constitution   INTEGER NOT NULL REFERENCES texts, -- resolved, canonical JSON
    pack_name      TEXT NOT NULL,
    pack_digest    TEXT NOT NULL,
    pack           INTEGER NOT NULL REFERENCES texts,
    model          INTEGER NOT NULL REFERENCES models,
    prompts_path   TEXT NOT NULL,
    prompts_digest TEXT NOT NULL,
    versions       TEXT NOT NULL, -- JSON
    execution      TEXT NOT NULL  -- JSON
) STRICT;

CREATE TABLE chains (
    id            INTEGER PRIMARY KEY,
    chain_id      TEXT NOT NULL UNIQUE,
    run           INTEGER NOT NULL REFERENCES runs,
    position      INTEGER NOT NULL,
    prompt        INTEGER NOT NULL REFERENCES prompts,
    sample        INTEGER NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    stop_reason   TEXT CHECK (stop_reason IN ('clean', 'rounds-done', 'context-full', 'failed')),
    rounds        INTEGER NOT NULL DEFAULT 0,
    draft         INTEGER REFERENCES texts,
    final         INTEGER REFERENCES texts,
    revised       INTEGER NOT NULL DEFAULT 0 CHECK (revised IN (0, 1)),
    changed       REAL,
    length_ratio  REAL,
    regressed     TEXT NOT NULL DEFAULT '[]', -- JSON array of principle ids
    error         TEXT,
    -- Sums over the chain's steps, kept so that filters need not add them up.
    steps         INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    tokens        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX chains_by_position ON chains (run, position, sample);
CREATE INDEX chains_by_status ON chains (run, status);
CREATE INDEX chains_by_prompt ON chains (prompt);

-- Steps --------------------------------------------------------------------------------------------

-- Model calls. Equal keys mean equal requests to equal models.
CREATE TABLE generations (
    id                INTEGER PRIMARY KEY,
    key               BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    conversation      INTEGER REFERENCES conversations,
    sampling          INTEGER REFERENCES texts, -- JSON
    shape             INTEGER REFERENCES texts, -- JSON
    options           INTEGER REFERENCES texts, -- JSON: the continuations to score
    seed              INTEGER,
    text              INTEGER NOT NULL REFERENCES texts,
    raw               INTEGER NOT NULL REFERENCES texts,
    thinking          INTEGER REFERENCES texts,
    thinking_unclosed INTEGER NOT NULL CHECK (thinking_unclosed IN (0, 1)),
    invalid_utf8      INTEGER NOT NULL CHECK (invalid_utf8 IN (0, 1)),
    finish            TEXT NOT NULL CHECK (finish IN ('stop', 'length', 'context')),
    prompt_tokens     INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    duration_ms       REAL NOT NULL
) STRICT;

-- Decisions read from token probabilities. REAL and not JSON, so that they come back bit for bit.
CREATE TABLE decisions (
    generation  INTEGER NOT NULL REFERENCES generations,
    ordinal     INTEGER NOT NULL,
    field       TEXT NOT NULL,
    probability REAL, -- NULL stands for NaN
    PRIMARY KEY (generation, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    id        INTEGER PRIMARY KEY,
    chain     INTEGER NOT NULL REFERENCES chains,
    ordinal   INTEGER NOT NULL,
    round     INTEGER NOT NULL,
    kind      TEXT NOT NULL CHECK (kind IN ('draft', 'critique', 'revision', 'recheck')),
    principle TEXT,
    output    INTEGER NOT NULL REFERENCES texts,
    adopted   INTEGER NOT NULL CHECK (adopted IN (0, 1)),
    UNIQUE (chain, ordinal)
) STRICT;
CREATE INDEX steps_by_output ON steps (output);
CREATE INDEX steps_by_principle ON steps (principle, kind, chain) WHERE principle IS NOT NULL;

CREATE TABLE step_calls (
    step       INTEGER NOT NULL REFERENCES steps,
    attempt    INTEGER NOT NULL,
    generation INTEGER NOT NULL REFERENCES generations,
    reused     INTEGER NOT NULL CHECK (reused IN (0, 1)),
    PRIMARY KEY (step, attempt)
) STRICT, WITHOUT ROWID;
-- Whether another step has a reply already.
CREATE INDEX step_calls_by_generation ON step_calls (generation);

CREATE TABLE step_flags (
    step    INTEGER NOT NULL REFERENCES steps,
    ordinal INTEGER NOT NULL,
    flag    TEXT NOT NULL,
    PRIMARY KEY (step, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX step_flags_by_flag ON step_flags (flag, step);

CREATE TABLE verdicts (
    step           INTEGER PRIMARY KEY REFERENCES steps,
    violated       INTEGER NOT NULL CHECK (violated IN (0, 1)),
    probability    REAL,
    severity       TEXT CHECK (severity IN ('minor', 'major', 'critical')),
    quote          TEXT,
    quote_verified INTEGER NOT NULL CHECK (quote_verified IN (0, 1)),
    critique       INTEGER NOT NULL REFERENCES texts,
    source         TEXT NOT NULL CHECK (source IN ('model', 'check'))
) STRICT;

-- Full-text search -----------------------------------------------------------------------------------

-- Which texts are searched: prompts and the outputs of steps. Not the messages of requests, which
-- would find a principle's wording in every chain.
CREATE TABLE searchable (text INTEGER PRIMARY KEY REFERENCES texts) STRICT;
CREATE VIEW searchable_texts AS
    SELECT texts.id AS id, texts.body AS body FROM searchable JOIN texts ON texts.id = searchable.text;
CREATE VIRTUAL TABLE search USING fts5 (
    body, content = 'searchable_texts', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER search_prompt AFTER INSERT ON prompts
WHEN NOT EXISTS (SELECT 1 FROM searchable WHERE text = new.text)
BEGIN
    INSERT INTO searchable (text) VALUES (new.text);
END;
CREATE TRIGGER search_step AFTER INSERT ON steps
WHEN NOT EXISTS (SELECT 1 FROM searchable WHERE text = new.output)
BEGIN
    INSERT INTO searchable (text) VALUES (new.output);
END;
CREATE TRIGGER search_add AFTER INSERT ON searchable
BEGIN
    INSERT INTO search (rowid, body) SELECT id, body FROM texts WHERE id = new.text;
END;
CREATE TRIGGER search_remove AFTER DELETE ON searchable
BEGIN
    INSERT INTO search (search, rowid, body) SELECT 'delete', id, body FROM texts WHERE id = old.text;
END;

-- Views: the public contract --------------------------------------------------------------------------

CREATE VIEW v_runs AS
SELECT
    r.run_id, r.created_at, r.updated_at, r.active_seconds, r.state, r.fingerprint,
    (SELECT body ->> '$.name' FROM texts WHERE id = r.constitution) AS constitution,
    (SELECT body ->> '$.version' FROM texts WHERE id = r.constitution) AS constitution_version,
    (SELECT 'b3:' || lower(hex(digest)) FROM texts WHERE id = r.constitution) AS constitution_digest,
    (SELECT body FROM texts WHERE id = r.constitution) AS constitution_json,
    r.pack_name AS pack, r.pack_digest,
    (SELECT body FROM texts WHERE id = r.pack) AS pack_text,
    m.name AS model, m.digest AS model_digest, m.settings_digest AS model_settings_digest,
    m.identity AS model_json,
    r.prompts_path, r.prompts_digest, r.config, r.versions, r.execution,
    (SELECT count(*) FROM chains WHERE run = r.id) AS chains,
    (SELECT count(*) FROM chains WHERE run = r.id AND status = 'running') AS running,
    (SELECT count(*) FROM chains WHERE run = r.id AND status = 'done') AS done,
    (SELECT count(*) FROM chains WHERE run = r.id AND status = 'failed') AS failed
FROM runs r JOIN models m ON m.id = r.model;

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
    c.steps, c.prompt_tokens, c.cached_tokens, c.tokens, c.error
FROM chains c JOIN runs r ON r.id = c.run JOIN prompts p ON p.id = c.prompt;

CREATE VIEW v_steps AS
SELECT
    c.chain_id || ':' || s.ordinal AS step_id, c.chain_id, r.run_id, s.ordinal, s.round, s.kind,
    s.principle AS principle_id,
    (SELECT body FROM texts WHERE id = s.output) AS output,
    (SELECT t.body FROM step_calls k JOIN generations g ON g.id = k.generation JOIN texts t ON t.id = g.raw
        WHERE k.step = s.id ORDER BY k.attempt DESC LIMIT 1) AS raw_output,
    (SELECT t.body FROM step_calls k JOIN generations g ON g.id = k.generation
        LEFT JOIN texts t ON t.id = g.thinking WHERE k.step = s.id ORDER BY k.attempt DESC LIMIT 1) AS thinking,
    s.adopted,
    (SELECT count(*) FROM step_calls WHERE step = s.id) AS attempts,
    (SELECT ifnull(min(reused), 0) FROM step_calls WHERE step = s.id) AS reused,
    (SELECT ifnull(sum(g.prompt_tokens), 0) FROM step_calls k JOIN generations g ON g.id = k.generation
        WHERE k.step = s.id) AS prompt_tokens,
    (SELECT ifnull(sum(g.cached_tokens), 0) FROM step_calls k JOIN generations g ON g.id = k.generation
        WHERE k.step = s.id) AS cached_tokens,
    (SELECT ifnull(sum(g.completion_tokens), 0) FROM step_calls k JOIN generations g ON g.id = k.generation
        WHERE k.step = s.id) AS completion_tokens,
    (SELECT ifnull(sum(g.duration_ms), 0.0) FROM step_calls k JOIN generations g ON g.id = k.generation
        WHERE k.step = s.id) AS duration_ms,
    (SELECT g.finish FROM step_calls k JOIN generations g ON g.id = k.generation
        WHERE k.step = s.id ORDER BY k.attempt DESC LIMIT 1) AS finish_reason,
    (SELECT g.seed FROM step_calls k JOIN generations g ON g.id = k.generation
        WHERE k.step = s.id ORDER BY k.attempt DESC LIMIT 1) AS seed,
    (SELECT ifnull(group_concat(flag, ','), '') FROM (
        SELECT flag FROM step_flags WHERE step = s.id ORDER BY ordinal)) AS flags
FROM steps s JOIN chains c ON c.id = s.chain JOIN runs r ON r.id = c.run;

CREATE VIEW v_verdicts AS
SELECT
    c.chain_id || ':' || s.ordinal AS step_id, c.chain_id, r.run_id, s.ordinal, s.round, s.kind,
    s.principle AS principle_id, v.violated, v.probability, v.severity, v.quote, v.quote_verified,
    (SELECT body FROM texts WHERE id = v.critique) AS critique,
    v.source
FROM verdicts v JOIN steps s ON s.id = v.step JOIN chains c ON c.id = s.chain JOIN runs r ON r.id = c.run;
