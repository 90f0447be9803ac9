-- +goose Up

-- Which call an order means, or which stay of a person, by the SFU's name for it.
ALTER TABLE rtc_orders ADD COLUMN sid text COLLATE "C" NOT NULL DEFAULT '';
