-- +goose Up

-- Which call an order means, or which stay of a person, by the SFU's name for it.
ALTER TABLE rtc_orders ADD COLUMN sid text COLLATE "C" NOT NULL DEFAULT '';

-- Guests who have ended and are in a room all the same are looked for among those who ended lately.
CREATE INDEX guests_ended ON guests (ended_ts) WHERE ended_ts IS NOT NULL;
