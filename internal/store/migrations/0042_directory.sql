-- +goose Up

-- Accounts whose person_keys have still to be made anew by the rules of internal/people, which SQL does not know.
CREATE TABLE person_keys_due (
    user_id  text COLLATE "C" PRIMARY KEY
);

-- Those that are older than the directory have only what SQL could find in their names and addresses.
INSERT INTO person_keys_due (user_id) SELECT user_id FROM users WHERE deactivated_ts IS NULL AND NOT guest;
