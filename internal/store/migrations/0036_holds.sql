-- +goose Up

-- People and rooms of which nothing may be erased for now, whatever was decided about them before and is later.
CREATE TABLE legal_holds (
    hold_id          text    COLLATE "C" PRIMARY KEY,
    organisation_id  bigint  NOT NULL REFERENCES organisations,
    -- One of the two. Neither row can be removed while the hold is there.
    user_id          text    COLLATE "C" REFERENCES users,
    room_nid         bigint  REFERENCES rooms,
    reason           text    COLLATE "C" NOT NULL,
    set_by           text    COLLATE "C" NOT NULL,
    set_ts           bigint  NOT NULL,
    CHECK ((user_id IS NULL) <> (room_nid IS NULL))
);
CREATE UNIQUE INDEX legal_holds_user ON legal_holds (user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX legal_holds_room ON legal_holds (room_nid) WHERE room_nid IS NOT NULL;
CREATE INDEX legal_holds_organisation ON legal_holds (organisation_id, set_ts);

-- Titles and departments, over links.
ALTER TABLE organisation_sharings ADD COLUMN work boolean NOT NULL DEFAULT false;
