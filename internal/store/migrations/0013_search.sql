-- +goose Up

-- The stretches of positions have other lexemes: the follower indexes everything again.
TRUNCATE search_documents;
DELETE FROM followers WHERE name = 'search';
