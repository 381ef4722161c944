-- What filters ask, where an index answers it: verdicts and flags know their chain, and indexes hold every
-- column that a condition looks at. The views v_filter_… are what filters are written over; they are part
-- of the public contract.

ALTER TABLE verdicts ADD COLUMN chain INTEGER;
ALTER TABLE verdicts ADD COLUMN kind TEXT;
ALTER TABLE verdicts ADD COLUMN principle TEXT;
UPDATE verdicts SET (chain, kind, principle) =
    (SELECT s.chain, s.kind, s.principle FROM steps s WHERE s.id = verdicts.step);
-- Chains in order within what is asked first: a list of them is then made by appending.
CREATE INDEX verdicts_by_outcome ON verdicts (violated, chain, probability, kind, severity, source);
CREATE INDEX verdicts_by_principle
    ON verdicts (principle, violated, chain, probability, kind, severity, source);
CREATE INDEX verdicts_by_chain
    ON verdicts (chain, principle, violated, probability, kind, severity, source);

ALTER TABLE step_flags ADD COLUMN chain INTEGER;
UPDATE step_flags SET chain = (SELECT s.chain FROM steps s WHERE s.id = step_flags.step);
DROP INDEX step_flags_by_flag;
CREATE INDEX step_flags_by_flag ON step_flags (flag, chain);
CREATE INDEX step_flags_by_chain ON step_flags (chain, flag);

DROP INDEX steps_by_output;
CREATE INDEX steps_by_output ON steps (output, chain);
CREATE INDEX steps_adopted ON steps (round, chain) WHERE kind = 'revision' AND adopted;

CREATE VIEW v_filter_runs AS SELECT id AS run, run_id FROM runs;
CREATE VIEW v_filter_prompts AS SELECT id AS prompt, prompt_id, text FROM prompts;
CREATE VIEW v_filter_chains AS
SELECT
    id, chain_id, run, prompt, position, sample, status, stop_reason, rounds, revised,
    regressed <> '[]' AS regressed, changed, length_ratio, tokens, label
FROM chains;
CREATE VIEW v_filter_steps AS SELECT chain, kind, principle, output AS text FROM steps;
CREATE VIEW v_filter_verdicts AS
    SELECT chain, kind, principle, violated, probability, severity, source, agreed FROM verdicts;
CREATE VIEW v_filter_flags AS SELECT chain, flag FROM step_flags;
CREATE VIEW v_filter_judgements AS SELECT chain, agree, p, margin FROM judgements;
CREATE VIEW v_filter_gated AS SELECT chain, kept, pair FROM gated_chains;
CREATE VIEW v_filter_gates AS SELECT chain, gate FROM gate_findings;
