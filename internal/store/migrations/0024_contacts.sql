-- +goose Up

-- Keys of organisations

CREATE TABLE organisation_keys (
    organisation_id  bigint PRIMARY KEY REFERENCES organisations,
    key_sealed       bytea  NOT NULL,
    created_ts       bigint NOT NULL
);

-- App passwords

CREATE TABLE app_passwords (
    app_password_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          text   COLLATE "C" NOT NULL REFERENCES users,
    name             text   NOT NULL,
    secret_hash      bytea  NOT NULL UNIQUE,
    created_ts       bigint NOT NULL,
    last_used_ts     bigint,
    last_used_ip     text
);
CREATE INDEX app_passwords_user ON app_passwords (user_id, app_password_id);

CREATE TABLE phone_profile_links (
    link_hash   bytea  PRIMARY KEY,
    user_id     text   COLLATE "C" NOT NULL REFERENCES users,
    name        text   NOT NULL,
    expires_ts  bigint NOT NULL
);
CREATE INDEX phone_profile_links_expires ON phone_profile_links (expires_ts);

-- Private contacts

CREATE TABLE address_books (
    user_id     text   COLLATE "C" PRIMARY KEY REFERENCES users,
    change      bigint NOT NULL DEFAULT 0,
    forgotten   bigint NOT NULL DEFAULT 0,
    contacts    bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    created_ts  bigint NOT NULL
);

CREATE TABLE contacts (
    user_id      text   COLLATE "C" NOT NULL REFERENCES address_books ON DELETE CASCADE,
    name_hash    bytea  NOT NULL,
    uid_hash     bytea,
    name_sealed  bytea  NOT NULL,
    card_sealed  bytea,
    change       bigint NOT NULL,
    changed_ts   bigint NOT NULL,
    PRIMARY KEY (user_id, name_hash),
    CHECK ((card_sealed IS NULL) = (uid_hash IS NULL))
);
ALTER TABLE contacts ALTER COLUMN card_sealed SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX contacts_change ON contacts (user_id, change);
CREATE UNIQUE INDEX contacts_uid ON contacts (user_id, uid_hash);
CREATE INDEX contacts_deleted ON contacts (changed_ts) WHERE card_sealed IS NULL;

-- The address book of an organisation

CREATE TABLE directory_changes (
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    text   COLLATE "C" NOT NULL
);

CREATE TABLE directory_counters (
    organisation_id  bigint PRIMARY KEY REFERENCES organisations,
    change           bigint NOT NULL
);

CREATE TABLE directory_entries (
    user_id          text   COLLATE "C" PRIMARY KEY,
    organisation_id  bigint NOT NULL,
    object_name      text   COLLATE "C" NOT NULL UNIQUE,
    change           bigint NOT NULL
);
CREATE UNIQUE INDEX directory_entries_change ON directory_entries (organisation_id, change);

-- +goose StatementBegin
CREATE FUNCTION note_directory_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO directory_changes (user_id) VALUES (CASE TG_OP WHEN 'DELETE' THEN OLD.user_id ELSE NEW.user_id END);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER directory_change_inserted AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION note_directory_change();
CREATE TRIGGER directory_change_updated AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.locked, OLD.guest, OLD.deactivated_ts) IS DISTINCT FROM (NEW.locked, NEW.guest, NEW.deactivated_ts))
    EXECUTE FUNCTION note_directory_change();
CREATE TRIGGER directory_change_put AFTER INSERT OR UPDATE ON profiles FOR EACH ROW
    WHEN (NEW.key = 'displayname') EXECUTE FUNCTION note_directory_change();
CREATE TRIGGER directory_change_deleted AFTER DELETE ON profiles FOR EACH ROW
    WHEN (OLD.key = 'displayname') EXECUTE FUNCTION note_directory_change();
CREATE TRIGGER directory_change AFTER INSERT OR UPDATE OR DELETE ON user_threepids FOR EACH ROW EXECUTE FUNCTION note_directory_change();
CREATE TRIGGER directory_change AFTER INSERT OR UPDATE OR DELETE ON person_fields FOR EACH ROW EXECUTE FUNCTION note_directory_change();

INSERT INTO directory_changes (user_id) SELECT user_id FROM users;
