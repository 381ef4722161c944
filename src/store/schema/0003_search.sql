-- The writer adds to the full-text search itself, once for all texts of a transaction. As triggers, each
-- text was written out on its own, which took as long as everything else that a step costs.

DROP TRIGGER search_prompt;
DROP TRIGGER search_step;
DROP TRIGGER search_add;
