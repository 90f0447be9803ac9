-- +goose Up

-- The room lists of third-party networks

-- A published room is in the list of its organisation, in those of networks, or in both. The lists of networks are kept by application
-- services; networks has the instance ids.
ALTER TABLE published_rooms
    ADD COLUMN public boolean NOT NULL DEFAULT true,
    ADD COLUMN networks text[] COLLATE "C" NOT NULL DEFAULT '{}';
CREATE INDEX published_rooms_public ON published_rooms (organisation_id, rank, room_nid) WHERE listed AND public;
CREATE INDEX published_rooms_networks ON published_rooms USING gin (networks) WITH (fastupdate = off);
