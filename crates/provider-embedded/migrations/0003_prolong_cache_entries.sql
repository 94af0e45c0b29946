-- How long an answer lives on after a hit, in microseconds; NULL for one whose time is fixed.
ALTER TABLE cache_entry ADD COLUMN sliding_ttl INTEGER;
PRAGMA user_version = 3;
