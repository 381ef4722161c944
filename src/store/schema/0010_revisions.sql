-- In which rounds the text of a chain was revised, for filters; the index steps_adopted answers it.

CREATE VIEW v_filter_revisions AS SELECT chain, round FROM steps WHERE kind = 'revision' AND adopted;
