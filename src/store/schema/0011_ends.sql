-- Why a chain ended stands with its end: a chain that failed may be begun again and end otherwise. Of ends
-- that were there before only the last reason is known.

ALTER TABLE events ADD COLUMN stop_reason TEXT;
UPDATE events SET stop_reason = (SELECT c.stop_reason FROM chains c WHERE c.id = events.chain)
    WHERE what = 'end';

DROP VIEW v_events;
CREATE VIEW v_events AS
SELECT
    e.id AS event, r.run_id, e.at, e.what, c.chain_id, s.ordinal, s.round, s.kind,
    s.principle AS principle_id, v.violated, v.probability, s.adopted, e.stop_reason
FROM events e JOIN runs r ON r.id = e.run LEFT JOIN chains c ON c.id = e.chain
LEFT JOIN steps s ON s.id = e.step LEFT JOIN verdicts v ON v.step = e.step;
