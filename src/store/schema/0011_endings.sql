-- Why a chain ended, in the event itself: one that failed may be begun again, and ends otherwise then. The view is
-- part of the public contract.

ALTER TABLE events ADD COLUMN stop TEXT; -- of an end
-- Only what failed is begun again, so the last end of a chain alone can have another reason.
UPDATE events SET stop = CASE
    WHEN id IN (SELECT max(id) FROM events WHERE what = 'end' GROUP BY chain)
    THEN ifnull((SELECT stop_reason FROM chains WHERE chains.id = events.chain), 'failed')
    ELSE 'failed' END
WHERE what = 'end';

DROP VIEW v_events;
CREATE VIEW v_events AS
SELECT
    e.id AS event, r.run_id, e.at, e.what, c.chain_id, s.ordinal, s.round, s.kind,
    s.principle AS principle_id, v.violated, v.probability, s.adopted,
    -- An older version that was writing meanwhile leaves it out.
    CASE WHEN e.what = 'end' THEN ifnull(e.stop, c.stop_reason) END AS stop_reason
FROM events e JOIN runs r ON r.id = e.run LEFT JOIN chains c ON c.id = e.chain
LEFT JOIN steps s ON s.id = e.step LEFT JOIN verdicts v ON v.step = e.step;
