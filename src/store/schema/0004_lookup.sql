-- Tokens of a reply that were guessed from a text that it repeats, and how many of the guesses were right.

ALTER TABLE generations ADD COLUMN proposed_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN accepted_tokens INTEGER NOT NULL DEFAULT 0;
