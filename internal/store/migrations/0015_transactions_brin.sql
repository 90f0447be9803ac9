-- +goose Up

-- Rows come in the order of their time, so that ranges of pages say enough, and a message pays for one index less.
DROP INDEX transactions_created;
CREATE INDEX transactions_created ON transactions USING brin (created_ts);
