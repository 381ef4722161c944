-- What gates decided: which texts and pairs may be learned from, and why others may not. A chain has the
-- decisions of the gating that looked at it last. The views are part of the public contract.

CREATE TABLE gatings (
    id         INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    filter     TEXT NOT NULL,
    run        TEXT, -- the run that was asked for; NULL for all
    settings   TEXT NOT NULL, -- JSON, keys in order: every gate with its threshold, false for one left out
    figures    TEXT NOT NULL  -- JSON
) STRICT;

CREATE TABLE gated_chains (
    chain         INTEGER PRIMARY KEY REFERENCES chains,
    gating        INTEGER NOT NULL REFERENCES gatings,
    kept          INTEGER NOT NULL CHECK (kept IN (0, 1)),
    pair          INTEGER NOT NULL CHECK (pair IN (0, 1)),
    chosen        TEXT NOT NULL,
    rejected      TEXT,
    why           TEXT NOT NULL,
    p             REAL,
    margin        REAL,
    edit_distance REAL NOT NULL,
    length_ratio  REAL
) STRICT;
CREATE INDEX gated_chains_by_gating ON gated_chains (gating);

CREATE TABLE gate_findings (
    chain     INTEGER NOT NULL REFERENCES chains,
    ordinal   INTEGER NOT NULL,
    gate      TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('drop', 'flip', 'replace')),
    pair_only INTEGER NOT NULL CHECK (pair_only IN (0, 1)),
    reason    TEXT NOT NULL,
    value     REAL,
    PRIMARY KEY (chain, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX gate_findings_by_gate ON gate_findings (gate, chain);

CREATE VIEW v_pairs AS
SELECT
    c.chain_id, r.run_id, t.created_at AS gated_at, g.kept, g.pair, g.chosen, g.rejected, g.why, g.p, g.margin,
    g.edit_distance, g.length_ratio
FROM gated_chains g JOIN gatings t ON t.id = g.gating JOIN chains c ON c.id = g.chain
JOIN runs r ON r.id = c.run;

CREATE VIEW v_gates AS
SELECT
    c.chain_id, r.run_id, t.created_at AS gated_at, f.ordinal, f.gate, f.action, f.pair_only, f.reason, f.value,
    t.settings ->> ('$.' || '"' || f.gate || '"') AS threshold
FROM gate_findings f JOIN gated_chains g ON g.chain = f.chain JOIN gatings t ON t.id = g.gating
JOIN chains c ON c.id = f.chain JOIN runs r ON r.id = c.run;
