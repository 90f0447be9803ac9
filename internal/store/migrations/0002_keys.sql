-- +goose Up

-- Keys of devices and of users.

-- The identity keys that a device has published, in canonical JSON without "unsigned". "signatures" has those of the owner
-- only: what the device sent, and what the owner's self-signing key signed afterwards. So everybody may see the whole of it.
CREATE TABLE device_keys (
    user_id    text  COLLATE "C" NOT NULL,
    device_id  text  COLLATE "C" NOT NULL,
    json       bytea NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- Keys that are given to one person each. A key that was given away stays for a while, as its SHA-256, so that a device which
-- uploads it again, because it did not get the answer, does not put it on offer a second time.
CREATE TABLE one_time_keys (
    user_id     text   COLLATE "C" NOT NULL,
    device_id   text   COLLATE "C" NOT NULL,
    algorithm   text   COLLATE "C" NOT NULL,
    key_id      text   COLLATE "C" NOT NULL,
    -- The order in which keys were uploaded and are given out.
    ord         bigint GENERATED ALWAYS AS IDENTITY,
    claimed_ts  bigint,
    json        bytea  NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX one_time_keys_unclaimed ON one_time_keys (user_id, device_id, algorithm, ord) WHERE claimed_ts IS NULL;
CREATE INDEX one_time_keys_claimed ON one_time_keys (claimed_ts) WHERE claimed_ts IS NOT NULL;

-- What is given out, any number of times, when a device has no one-time keys left.
CREATE TABLE fallback_keys (
    user_id    text    COLLATE "C" NOT NULL,
    device_id  text    COLLATE "C" NOT NULL,
    algorithm  text    COLLATE "C" NOT NULL,
    key_id     text    COLLATE "C" NOT NULL,
    used       boolean NOT NULL DEFAULT false,
    json       bytea   NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- Users' cross-signing keys: usage is master, self_signing or user_signing. json is as in device_keys. That of user_signing is
-- told to nobody but its owner.
CREATE TABLE cross_signing_keys (
    user_id     text  COLLATE "C" NOT NULL REFERENCES users,
    usage       text  COLLATE "C" NOT NULL,
    -- In unpadded base64, as it stands in the key's id. No device of the user may be called so.
    public_key  text  COLLATE "C" NOT NULL,
    json        bytea NOT NULL,
    PRIMARY KEY (user_id, usage),
    UNIQUE (user_id, public_key)
);

-- What users' user-signing keys say of others' master keys; told to nobody but the signer. key_id is the public key.
CREATE TABLE key_signatures (
    signer      text  COLLATE "C" NOT NULL REFERENCES users,
    user_id     text  COLLATE "C" NOT NULL,
    key_id      text  COLLATE "C" NOT NULL,
    -- The signer's part of "signatures".
    signatures  bytea NOT NULL,
    PRIMARY KEY (signer, user_id, key_id)
);
CREATE INDEX key_signatures_user ON key_signatures (user_id);

-- One row: which incarnation of the database the one-time keys belong to. A copy that was restored finds itself to be another
-- one, and then the keys are dropped: they may have been given out after the copy was made.
CREATE TABLE key_epoch (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch  text    NOT NULL
);

-- Users whose devices changed: few of the many updates.
CREATE INDEX updates_device_lists ON updates (position) WHERE kind = 6;
