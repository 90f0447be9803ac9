-- +goose Up

-- Linked organisations

CREATE TABLE organisation_links (
    link_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Who proposed it, and the domain that they named. Whether somebody has it here is not told to them before that one answers.
    organisation_id  bigint NOT NULL REFERENCES organisations,
    domain           text   COLLATE "C" NOT NULL,
    -- The other side, once it has accepted or refused.
    other_id         bigint REFERENCES organisations,
    -- 'proposed'; 'active'; 'refused', 'withdrawn', 'revoked': over.
    state            text   COLLATE "C" NOT NULL CHECK (state IN ('proposed', 'active', 'refused', 'withdrawn', 'revoked')),
    -- What the proposer gives, as JSON; while the link is active, what holds is in organisation_sharings.
    offer            bytea  NOT NULL,
    -- What the proposer says to the other side.
    message          text   NOT NULL,
    proposed_ts      bigint NOT NULL,
    -- When it came into its present state.
    since_ts         bigint NOT NULL
);
CREATE INDEX organisation_links_organisation ON organisation_links (organisation_id, link_id);
CREATE INDEX organisation_links_other ON organisation_links (other_id, link_id) WHERE other_id IS NOT NULL;
CREATE INDEX organisation_links_domain ON organisation_links (domain) WHERE state = 'proposed';
-- A domain is proposed to once.
CREATE UNIQUE INDEX organisation_links_open ON organisation_links (organisation_id, domain) WHERE state IN ('proposed', 'active');

CREATE TABLE organisation_sharings (
    viewer_id       bigint  NOT NULL REFERENCES organisations,
    owner_id        bigint  NOT NULL REFERENCES organisations,
    link_id         bigint  NOT NULL REFERENCES organisation_links,
    name            boolean NOT NULL,
    avatar          boolean NOT NULL,
    email           boolean NOT NULL,
    phone           boolean NOT NULL,
    presence        boolean NOT NULL,
    -- Whether somebody is on the phone.
    phone_presence  boolean NOT NULL,
    -- Whether the viewers may invite the owner's people.
    invite          boolean NOT NULL,
    PRIMARY KEY (viewer_id, owner_id)
);
CREATE INDEX organisation_sharings_link ON organisation_sharings (link_id);

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION media_linkable(server text, id text, who text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM media m JOIN users ON users.user_id = who
        WHERE m.server_name = server AND m.media_id = id AND m.quarantined_by IS NULL AND (
            m.expires_ts IS NOT NULL AND (m.user_id = who OR NOT m.restricted AND m.organisation_id = users.organisation_id)
            OR m.user_id = who AND EXISTS (SELECT FROM media_links l WHERE l.server_name = server AND l.media_id = id)
            OR EXISTS (
                SELECT FROM media_links l JOIN memberships ON memberships.room_nid = l.room_nid
                WHERE l.server_name = server AND l.media_id = id AND memberships.user_id = who AND memberships.membership = 'join')
            OR EXISTS (
                SELECT FROM media_links l JOIN users owner ON owner.user_id = l.user_id
                WHERE l.server_name = server AND l.media_id = id AND (
                    owner.organisation_id = users.organisation_id
                    OR NOT users.guest AND EXISTS (
                        SELECT FROM organisation_sharings s
                        WHERE s.viewer_id = users.organisation_id AND s.owner_id = owner.organisation_id AND s.avatar)))))
$$;
-- +goose StatementEnd

-- The directory of people

CREATE TABLE person_fields (
    user_id          text COLLATE "C" PRIMARY KEY REFERENCES users,
    given_name       text NOT NULL,
    family_name      text NOT NULL,
    title            text NOT NULL,
    department       text NOT NULL,
    employee_number  text NOT NULL,
    -- Another account of the organisation, or empty.
    manager          text COLLATE "C" NOT NULL
);

CREATE TABLE person_keys (
    user_id          text     COLLATE "C" NOT NULL REFERENCES users,
    kind             smallint NOT NULL,
    key              text     COLLATE "C" NOT NULL,
    organisation_id  bigint   NOT NULL,
    PRIMARY KEY (user_id, kind, key)
);
CREATE INDEX person_keys_found ON person_keys (organisation_id, kind, key, user_id);

INSERT INTO person_keys (user_id, kind, key, organisation_id)
SELECT user_id, 1, word, organisation_id FROM user_directory
UNION
SELECT user_id, 5, translate(word, 'abcdefghijklmnopqrstuvwxyz', '22233344455566677778889999'), organisation_id FROM user_directory
WHERE word ~ '^[a-z0-9]+$'
UNION
SELECT t.user_id, k.kind, k.key, u.organisation_id
FROM user_threepids t JOIN users u USING (user_id)
CROSS JOIN LATERAL (
    VALUES (2::smallint, left(t.address, 64), 'email'), (7, t.address, 'email'), (3, left(t.address, 64), 'msisdn'), (4, reverse(left(t.address, 64)), 'msisdn')
) k (kind, key, medium)
WHERE k.medium = t.medium;

DROP TABLE user_directory;
