-- +goose Up

-- Push

-- The journal's position when a pusher was made or last enabled: it is told of what came later. Those that are there are told of all
-- that has not been looked at.
ALTER TABLE pushers ADD COLUMN since bigint NOT NULL DEFAULT 0;
ALTER TABLE pushers ALTER COLUMN since DROP DEFAULT;
