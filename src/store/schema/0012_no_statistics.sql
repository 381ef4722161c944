-- Statistics of the planner, which earlier versions gathered when a run ended. Those of a small run had it take every
-- table for a small one, and read tables from end to end that had grown since.

DROP TABLE IF EXISTS sqlite_stat1;
DROP TABLE IF EXISTS sqlite_stat4;
