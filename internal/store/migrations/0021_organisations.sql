-- +goose Up

ALTER TABLE organisations ADD COLUMN state text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleted'));
ALTER TABLE organisations ADD COLUMN default_region text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE organisations ADD COLUMN max_people bigint NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN removed_ts bigint;

ALTER TABLE hosted_domains ADD COLUMN discovery bytea;
CREATE INDEX hosted_domains_organisation ON hosted_domains (organisation_id, created_ts);

ALTER TABLE users ADD COLUMN role text COLLATE "C" NOT NULL DEFAULT '' CHECK (role IN ('', 'owner', 'people', 'auditor'));
UPDATE users SET role = 'owner' WHERE admin;
ALTER TABLE users DROP COLUMN admin;
ALTER TABLE users ADD COLUMN machine boolean NOT NULL DEFAULT false;
CREATE INDEX users_people ON users (organisation_id) WHERE deactivated_ts IS NULL AND NOT guest AND NOT machine;
CREATE INDEX users_role ON users (organisation_id, user_id) WHERE role <> '';

CREATE TABLE audit_log (
    organisation_id  bigint NOT NULL REFERENCES organisations,
    seq              bigint NOT NULL,
    ts               bigint NOT NULL,
    actor            text   COLLATE "C" NOT NULL,
    ip               text   COLLATE "C" NOT NULL,
    action           text   COLLATE "C" NOT NULL,
    target           text   COLLATE "C" NOT NULL,
    outcome          text   COLLATE "C" NOT NULL,
    detail           text   COLLATE "C" NOT NULL,
    hash             bytea  NOT NULL,
    PRIMARY KEY (organisation_id, seq)
);
CREATE INDEX audit_log_actor ON audit_log (organisation_id, actor, seq);
CREATE INDEX audit_log_target ON audit_log (organisation_id, target, seq);

CREATE TABLE audit_heads (
    organisation_id  bigint PRIMARY KEY REFERENCES organisations,
    seq              bigint NOT NULL,
    hash             bytea  NOT NULL
) WITH (fillfactor = 70);

-- +goose StatementBegin
CREATE FUNCTION audit_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION audit_keep();

-- +goose StatementBegin
CREATE FUNCTION audit_text(VARIADIC fields text[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT convert_to(string_agg(octet_length(f) || ':' || f || ',', '' ORDER BY n), 'UTF8') FROM unnest(fields) WITH ORDINALITY AS x (f, n)
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION audit_append(orgs bigint[], tss bigint[], actors text[], ips text[], actions text[], targets text[], outcomes text[],
    details text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
    h bytea;
BEGIN
    INSERT INTO audit_heads (organisation_id, seq, hash)
    SELECT DISTINCT x.org, 0, ''::bytea FROM unnest(orgs) AS x (org) ORDER BY 1 ON CONFLICT DO NOTHING;
    PERFORM FROM audit_heads WHERE organisation_id = ANY (orgs) ORDER BY organisation_id FOR UPDATE;
    FOR i IN 1 .. cardinality(orgs) LOOP
        SELECT a.seq + 1, a.hash INTO n, h FROM audit_heads a WHERE a.organisation_id = orgs[i];
        h := sha256(h || audit_text(orgs[i]::text, n::text, tss[i]::text, actors[i], ips[i], actions[i], targets[i], outcomes[i], details[i]));
        INSERT INTO audit_log (organisation_id, seq, ts, actor, ip, action, target, outcome, detail, hash)
        VALUES (orgs[i], n, tss[i], actors[i], ips[i], actions[i], targets[i], outcomes[i], details[i], h);
        UPDATE audit_heads SET seq = n, hash = h WHERE organisation_id = orgs[i];
    END LOOP;
END
$$;
-- +goose StatementEnd
