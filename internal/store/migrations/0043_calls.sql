-- +goose Up

-- The call was ended since the last token was given: it lets in no more, although the SFU, which may have begun anew, still takes it.
ALTER TABLE rtc_participants ADD COLUMN revoked boolean NOT NULL DEFAULT false;
