package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/roomline/roomline/internal/matrix"
)

// Personal says what a table has of a person, what becomes of it when the person's account is erased, and what the person is given of it
// when it is exported. There is a line for every table of the schema; a test fails when one is missing, and another one fills all tables, erases
// somebody and looks for what is left.
type Personal struct {
	Table string
	// Erase removes what is the person's ($1). It is empty where nothing is, where a row goes with one of another table, or where
	// roomserver does it.
	Erase string
	// Residue are columns in which the user id stays, and Why says why. Nothing else of the person stays.
	Residue []string
	Why     string
	// Export selects what the person is given: rows of which each becomes a JSON object. It is empty where NotExported says why.
	Export      string
	NotExported string
}

const (
	notPersonal = "not about people"
	secretOfUse = "tokens and keys that are secrets of the server, or worthless without them"
	ofOthers    = "written by others"
	ownContacts = "private contacts are given to their owner alone, who exports them in the address book"
	byEvents    = "follows from events, which are exported"
)

func impersonal(table string) Personal {
	return Personal{Table: table, Why: notPersonal, NotExported: notPersonal}
}

// exportedEvent is an event as it is exported.
const exportedEvent = `convert_from(e.json, 'UTF8')::json AS event, e.event_id, r.room_id, e.redacted_by IS NOT NULL AS redacted`

// Inventory is every table of the schema.
var Inventory = []Personal{
	impersonal("clock"), impersonal("deployment"), impersonal("processes"), impersonal("organisations"), impersonal("hosted_domains"),
	{
		Table: "users", Erase: `UPDATE users SET password_hash = NULL, locked = false, suspended = false, created_ts = 0 WHERE user_id = $1`,
		Residue: []string{"user_id"}, Why: "nobody else may get the user id: it stands in others' rooms",
		Export: `SELECT user_id, organisation_id, guest, locked, suspended, created_ts FROM users WHERE user_id = $1`,
	},
	{
		Table: "user_threepids", Erase: `DELETE FROM user_threepids WHERE user_id = $1`,
		Export: `SELECT medium, address, added_ts, validated_ts FROM user_threepids WHERE user_id = $1 ORDER BY medium, address`,
	},
	{
		Table: "profiles", Erase: `DELETE FROM profiles WHERE user_id = $1`,
		Export: `SELECT key, convert_from(value, 'UTF8')::json AS value FROM profiles WHERE user_id = $1 ORDER BY key`,
	},
	{
		Table: "devices", Erase: `DELETE FROM devices WHERE user_id = $1`,
		Export: `SELECT device_id, display_name, created_ts, last_seen_ts, last_seen_ip FROM devices WHERE user_id = $1 ORDER BY device_id`,
	},
	{
		Table: "sessions", Erase: `DELETE FROM sessions WHERE user_id = $1`,
		Export: `SELECT device_id, created_ts, access_expires_ts, revoked_ts FROM sessions WHERE user_id = $1 ORDER BY created_ts`,
	},
	impersonal("registration_tokens"), impersonal("registration_nonces"),
	{Table: "uia_sessions", Erase: `DELETE FROM uia_sessions WHERE user_id = $1`, NotExported: "interrupted sign-ins of the last minutes"},
	{Table: "rate_limits", Why: "hashes that say nothing after seconds", NotExported: "hashes that say nothing after seconds"},
	impersonal("rooms"),
	{
		Table: "events", Residue: []string{"sender", "state_key", "json"},
		Why: "rooms are chains of events that name their senders; the content of the person's membership is removed, that of messages if the organisation wants it",
		Export: `SELECT ` + exportedEvent + ` FROM memberships m JOIN events e ON e.room_nid = m.room_nid JOIN rooms r ON r.room_nid = m.room_nid
			WHERE m.user_id = $1 AND e.sender = $1 ORDER BY e.position`,
	},
	{
		Table: "room_state", Residue: []string{"state_key"}, Why: "the state of rooms names its members", NotExported: byEvents,
	},
	{
		Table: "memberships", Residue: []string{"user_id", "sender"}, Why: "who was in a room when, as others' clients know it",
		Export: `SELECT r.room_id, m.membership, m.sender, m.forgotten FROM memberships m JOIN rooms r USING (room_nid) WHERE m.user_id = $1 ORDER BY m.room_nid`,
	},
	{
		Table: "room_aliases", Erase: `UPDATE room_aliases SET creator = '' WHERE creator = $1`,
		Export: `SELECT alias, created_ts FROM room_aliases WHERE creator = $1 ORDER BY alias`,
	},
	{Table: "transactions", Erase: `DELETE FROM transactions WHERE user_id = $1`, NotExported: "ids of requests, kept against sending twice"},
	{
		// The kinds 5, 6 and 8 say that something has changed, with an empty body: who has not heard of it yet still has to.
		Table: "updates", Erase: `DELETE FROM updates WHERE user_id = $1 AND kind NOT IN (5, 6, 8)`,
		Residue: []string{"user_id", "key"}, Why: "that something has changed, without what, for those who have not heard of it; and others' own data",
		Export: `SELECT CASE kind WHEN 1 THEN 'account_data' WHEN 2 THEN 'receipt' WHEN 4 THEN 'presence' ELSE 'thread_subscription' END AS kind,
				(SELECT room_id FROM rooms WHERE rooms.room_nid = updates.room_nid) AS room_id, key,
				CASE WHEN octet_length(body) > 0 THEN convert_from(body, 'UTF8')::json END AS content
			FROM updates WHERE user_id = $1 AND kind IN (1, 2, 4, 9) ORDER BY position`,
	},
	impersonal("followers"),
	{
		Table: "media_objects", Erase: `UPDATE media_objects SET user_id = '' WHERE user_id = $1 AND state <> 'writing'`,
		Residue: []string{"user_id"}, Why: "an upload that is being broken off, until the sweeper has removed it", NotExported: "names of files in the media store",
	},
	{
		Table: "media", Residue: []string{"user_id", "quarantined_by"},
		Why:    "until the sweeper has removed the bytes; for good where the organisation keeps what was shared",
		Export: `SELECT 'mxc://' || server_name || '/' || media_id AS uri, content_type, file_name, size, kind, created_ts FROM media WHERE user_id = $1 ORDER BY created_ts, media_id`,
	},
	{Table: "media_links", Erase: `DELETE FROM media_links WHERE user_id = $1`, NotExported: byEvents},
	{Table: "media_unlinked", Residue: []string{"redacted_by"}, Why: "until the sweeper has removed the bytes", NotExported: "what is about to be removed"},
	{
		Table: "event_deletions", Erase: `DELETE FROM event_deletions WHERE deleted_by = $1 AND NOT EXISTS (SELECT FROM media_unlinked u WHERE u.event_id = event_deletions.event_id)`,
		Residue: []string{"deleted_by"}, Why: "until the receipts that name it are made", NotExported: "what an administrator had deleted in the last week",
	},
	{
		Table: "media_deletions", Residue: []string{"user_id", "deleted_by", "receipt"}, Why: "receipts prove that the bytes are gone; they are signed and name the uploader's id",
		Export: `SELECT 'mxc://' || server_name || '/' || media_id AS uri, size, rule, deleted_ts FROM media_deletions WHERE user_id = $1 ORDER BY deletion_id`,
	},
	{
		Table: "media_usage", Erase: `DELETE FROM media_usage WHERE owner = $1 AND NOT EXISTS (SELECT FROM media WHERE user_id = $1)`,
		Residue: []string{"owner"}, Why: "as long as there are bytes to be counted",
		Export: `SELECT bytes, files FROM media_usage WHERE owner = $1`,
	},
	impersonal("url_previews"), impersonal("organisation_policies"), impersonal("signing_keys"),
	{
		Table: "device_keys", Erase: `DELETE FROM device_keys WHERE user_id = $1`,
		Export: `SELECT device_id, convert_from(json, 'UTF8')::json AS keys FROM device_keys WHERE user_id = $1 ORDER BY device_id`,
	},
	{Table: "one_time_keys", Erase: `DELETE FROM one_time_keys WHERE user_id = $1`, NotExported: "public keys that are used once"},
	{Table: "fallback_keys", Erase: `DELETE FROM fallback_keys WHERE user_id = $1`, NotExported: "public keys that are used once"},
	{
		Table: "cross_signing_keys", Erase: `DELETE FROM cross_signing_keys WHERE user_id = $1`,
		Export: `SELECT usage, convert_from(json, 'UTF8')::json AS keys FROM cross_signing_keys WHERE user_id = $1 ORDER BY usage`,
	},
	{
		Table: "key_signatures", Erase: `DELETE FROM key_signatures WHERE signer = $1 OR user_id = $1`,
		Export: `SELECT user_id, key_id, convert_from(signatures, 'UTF8')::json AS signatures FROM key_signatures WHERE signer = $1 ORDER BY user_id, key_id`,
	},
	impersonal("key_epoch"),
	{Table: "device_list_history", Residue: []string{"user_id", "key"}, Why: "that keys have changed, for those who have not heard of it", NotExported: "when keys changed, without what"},
	{
		Table: "presence_seen", Erase: `DELETE FROM presence_seen WHERE user_id = $1`,
		Export: `SELECT device_id, state, active_ts FROM presence_seen WHERE user_id = $1 ORDER BY device_id`,
	},
	{
		Table: "filters", Erase: `DELETE FROM filters WHERE user_id = $1`,
		Export: `SELECT filter_id, convert_from(filter, 'UTF8')::json AS filter FROM filters WHERE user_id = $1 ORDER BY filter_id`,
	},
	{Table: "relations", Residue: []string{"sender"}, Why: "as events", NotExported: byEvents},
	impersonal("threads"),
	{Table: "sticky_events", Erase: `DELETE FROM sticky_events WHERE sender = $1`, NotExported: byEvents},
	{Table: "search_documents", Residue: []string{"sender"}, Why: "as events: what has no content is not found any more", NotExported: byEvents},
	{
		Table: "delayed_events", Erase: `DELETE FROM delayed_events WHERE user_id = $1`,
		Export: `SELECT room_id, type, state_key, convert_from(content, 'UTF8')::json AS content, due_ts FROM delayed_events WHERE user_id = $1 ORDER BY due_ts`,
	},
	{Table: "openid_tokens", Erase: `DELETE FROM openid_tokens WHERE user_id = $1`, NotExported: secretOfUse},
	{Table: "login_tokens", Erase: `DELETE FROM login_tokens WHERE user_id = $1`, NotExported: secretOfUse},
	{
		Table: "to_device", Erase: `DELETE FROM to_device WHERE user_id = $1`, Residue: []string{"sender"},
		Why: "encrypted messages to others' devices, until these fetch them", NotExported: "encrypted messages between devices, of others and on their way",
	},
	{
		Table: "key_backups", Erase: `DELETE FROM key_backups WHERE user_id = $1`,
		Export: `SELECT version, algorithm, convert_from(auth_data, 'UTF8')::json AS auth_data, keys FROM key_backups WHERE user_id = $1 AND NOT deleted ORDER BY version`,
	},
	{
		Table: "key_backup_sessions", Erase: `DELETE FROM key_backup_sessions WHERE user_id = $1`,
		Export: `SELECT version, room_id, session_id, convert_from(session_data, 'UTF8')::json AS session_data FROM key_backup_sessions WHERE user_id = $1
			ORDER BY version, room_id, session_id`,
	},
	{Table: "dehydrated_devices", Erase: `DELETE FROM dehydrated_devices WHERE user_id = $1`, NotExported: "encrypted by the client for itself"},
	impersonal("published_rooms"),
	impersonal("organisation_links"), impersonal("organisation_sharings"),
	{Table: "legal_holds", Erase: `UPDATE legal_holds SET set_by = '' WHERE set_by = $1`, NotExported: "what administrators have decided; who is held is not erased"},
	{
		Table: "person_fields", Erase: `WITH own AS (DELETE FROM person_fields WHERE user_id = $1) UPDATE person_fields SET manager = '' WHERE manager = $1`,
		Export: `SELECT given_name, family_name, title, department, employee_number, manager FROM person_fields WHERE user_id = $1`,
	},
	{Table: "person_keys", Erase: `DELETE FROM person_keys WHERE user_id = $1`, NotExported: "the words of profile and addresses, which are exported"},
	{Table: "person_keys_due", Erase: `DELETE FROM person_keys_due WHERE user_id = $1`, NotExported: "who waits for the words of profile and addresses"},
	impersonal("mixed_rooms"),
	{Table: "space_walks", Erase: `DELETE FROM space_walks WHERE user_id = $1`, NotExported: "where a client has come in a list, for minutes"},
	{
		Table: "reports", Erase: `DELETE FROM reports WHERE reporter = $1`, Residue: []string{"reported_user_id"}, Why: ofOthers,
		Export: `SELECT room_id, event_id, reported_user_id, reason, received_ts FROM reports WHERE reporter = $1 ORDER BY report_id`,
	},
	{Table: "server_notice_rooms", Erase: `DELETE FROM server_notice_rooms WHERE user_id = $1`, NotExported: byEvents},
	impersonal("sso_logins"),
	{
		Table: "sso_subjects", Erase: `DELETE FROM sso_subjects WHERE user_id = $1`,
		Export: `SELECT provider, subject, created_ts FROM sso_subjects WHERE user_id = $1 ORDER BY provider, subject`,
	},
	{Table: "sliding_states", Erase: `DELETE FROM sliding_states WHERE user_id = $1`, NotExported: "what a client has been told of the rest"},
	{Table: "push_facts", Residue: []string{"sender", "mentions"}, Why: "as events", NotExported: byEvents},
	{Table: "push_own", Erase: `DELETE FROM push_own WHERE user_id = $1`, NotExported: "follows from events and the push rules, which are exported"},
	impersonal("push_progress"),
	{
		Table: "pushers", Erase: `DELETE FROM pushers WHERE user_id = $1`,
		Export: `SELECT device_id, app_id, pushkey, app_display_name, device_display_name, lang, url, pushkey_ts FROM pushers WHERE user_id = $1 ORDER BY pusher_id`,
	},
	{Table: "push_queue", Why: "goes with the pusher", NotExported: byEvents},
	{
		Table: "scim_users", Erase: `WITH own AS (DELETE FROM scim_users WHERE user_id = $1)
			UPDATE scim_users SET resource = resource #- '{urn:ietf:params:scim:schemas:extension:enterprise:2.0:User,manager}'
			WHERE resource #>> '{urn:ietf:params:scim:schemas:extension:enterprise:2.0:User,manager,value}' = $1`,
		Export: `SELECT user_name, external_id, modified_ts, resource FROM scim_users WHERE user_id = $1`,
	},
	impersonal("scim_groups"),
	{
		// Who is in the room of a group leaves it with the other rooms.
		Table: "scim_group_members", Erase: `DELETE FROM scim_group_members WHERE user_id = $1`,
		Export: `SELECT g.display_name FROM scim_group_members m JOIN scim_groups g USING (group_id) WHERE m.user_id = $1 AND NOT m.leaving ORDER BY 1`,
	},
	{
		Table: "audit_log", Residue: []string{"actor", "target", "ip", "detail"}, Why: "the organisation has to be able to say who did what; nothing in it is ever changed",
		Export: `SELECT seq, ts, actor, ip, action, target, outcome FROM audit_log WHERE actor = $1 AND organisation_id = (
			SELECT organisation_id FROM users WHERE user_id = $1) ORDER BY seq`,
	},
	impersonal("audit_heads"),
	{Table: "erasures", Residue: []string{"user_id", "requested_by"}, Why: "that the account was erased, when and by whom", NotExported: "only erased accounts are in it"},
	{
		Table: "exports", Erase: `DELETE FROM exports WHERE user_id = $1`, Residue: []string{"requested_by"}, Why: "who had something exported, until the archive goes",
		NotExported: "archives that wait to be fetched",
	},
	impersonal("organisation_keys"), impersonal("directory_counters"),
	{
		Table: "app_passwords", Erase: `DELETE FROM app_passwords WHERE user_id = $1`,
		Export: `SELECT name, created_ts, last_used_ts, last_used_ip FROM app_passwords WHERE user_id = $1 ORDER BY app_password_id`,
	},
	{Table: "phone_profile_links", Erase: `DELETE FROM phone_profile_links WHERE user_id = $1`, NotExported: secretOfUse},
	{Table: "address_books", Erase: `DELETE FROM address_books WHERE user_id = $1`, NotExported: ownContacts},
	{Table: "contacts", Erase: `DELETE FROM contacts WHERE user_id = $1`, NotExported: ownContacts},
	{Table: "directory_changes", Residue: []string{"user_id"}, Why: "that the person is gone, until the address books have it", NotExported: "a queue that is empty a moment later"},
	{Table: "directory_entries", Residue: []string{"user_id"}, Why: "phones that have the entry have to learn that the person is gone", NotExported: "when the account changed last, without what"},
	{Table: "appservice_users", Erase: `DELETE FROM appservice_users WHERE user_id = $1`, NotExported: "which application service made the account"},
	{
		Table: "invitations", Erase: `DELETE FROM invitations WHERE inviter = $1`,
		Export: `SELECT i.invitation_id, r.room_id, i.medium, i.address, i.created_ts, i.expires_ts, i.opened_ts, i.redeemed_ts, i.ended_ts, i.ended
			FROM invitations i JOIN rooms r USING (room_nid) WHERE i.inviter = $1 ORDER BY i.created_ts`,
	},
	{
		Table: "guests",
		Erase: `WITH own AS (DELETE FROM guests WHERE user_id = $1)
			UPDATE guests SET inviter = CASE inviter WHEN $1 THEN '' ELSE inviter END, linked_to = nullif(linked_to, $1)
			WHERE user_id <> $1 AND (inviter = $1 OR linked_to = $1)`,
		Export: `SELECT medium, address, verified, created_ts, expires_ts, ended_ts FROM guests WHERE user_id = $1 OR linked_to = $1`,
	},
	{Table: "new_threepids", Erase: `DELETE FROM new_threepids WHERE user_id = $1`, NotExported: "addresses of the last seconds, which are exported as the account's"},
	{Table: "validations", Erase: `DELETE FROM validations WHERE user_id = $1`, NotExported: secretOfUse},
	{Table: "identity_tokens", Erase: `DELETE FROM identity_tokens WHERE user_id = $1`, NotExported: secretOfUse},
	{
		Table: "outbox", Erase: `UPDATE outbox SET sender = '' WHERE sender = $1`,
		Export: `SELECT kind, medium, address, state, created_ts, sent_ts FROM outbox WHERE sender = $1 ORDER BY created_ts`,
	},
	{
		Table: "commands", Erase: `DELETE FROM commands WHERE sender = $1`,
		NotExported: "what came of commands to a bot; the commands are events, and the invitations are exported",
	},
	impersonal("outbox_spending"), impersonal("outbox_pauses"),
	impersonal("rtc_rooms"), impersonal("rtc_webhooks"), impersonal("rtc_spending"), impersonal("phone_spending"),
	{
		Table: "rtc_participants", Erase: `DELETE FROM rtc_participants WHERE user_id = $1`,
		Export: `SELECT r.room_id, p.device_id, p.joined_ts, p.left_ts
			FROM rtc_participants p JOIN rtc_rooms m USING (alias) JOIN rooms r USING (room_nid) WHERE p.user_id = $1 ORDER BY p.joined_ts`,
	},
	{Table: "rtc_orders", Residue: []string{"identity"}, Why: "whom the SFU has still to put out, until it has", NotExported: "a queue that is empty a moment later"},
	{
		Table: "meetings", Erase: `DELETE FROM meetings WHERE organiser = $1`,
		Export: `SELECT m.meeting_id, r.room_id, m.kind, m.title, m.start_ts, m.end_ts, m.timezone, m.recurrence, m.created_ts, m.cancelled_ts
			FROM meetings m JOIN rooms r USING (room_nid) WHERE m.organiser = $1 ORDER BY m.created_ts`,
	},
	{
		Table: "meeting_invitees", Erase: `DELETE FROM meeting_invitees WHERE user_id = $1`,
		Export: `SELECT meeting_id, role, answer, answer_ts FROM meeting_invitees WHERE user_id = $1 ORDER BY created_ts`,
	},
	{
		Table: "recordings", Erase: `UPDATE recordings SET started_by = '' WHERE started_by = $1`,
		Export: `SELECT r.room_id, c.recorder, c.state, c.created_ts, c.ended_ts FROM recordings c JOIN rooms r USING (room_nid) WHERE c.started_by = $1 ORDER BY c.created_ts`,
	},
	{
		Table: "recording_consents", Erase: `DELETE FROM recording_consents WHERE user_id = $1`,
		Export: `SELECT recording_id, answer, means, ts FROM recording_consents WHERE user_id = $1 ORDER BY ts`,
	},
	{Table: "phone_pins", Erase: `DELETE FROM phone_pins WHERE user_id = $1`, NotExported: secretOfUse},
	{
		Table: "phone_calls",
		Erase: `WITH own AS (DELETE FROM phone_calls WHERE user_id = $1)
			UPDATE phone_calls SET requested_by = '', number = '', name = '' WHERE user_id <> $1 AND requested_by = $1`,
		Export: `SELECT direction, number, name, state, created_ts, answered_ts, ended_ts FROM phone_calls WHERE user_id = $1 OR requested_by = $1 ORDER BY created_ts`,
	},
	{Table: "outbox_refusals", Why: "hashes of addresses that shall never be written to again", NotExported: "hashes of addresses that shall never be written to again"},
	{Table: "appservices", Residue: []string{"created_by"}, Why: "who answers for the application service", NotExported: "what an administrator has registered"},
	{
		Table: "appservice_delivery", Residue: []string{"body"}, Why: "the transaction that an application service has not taken yet, until it takes it or is removed",
		NotExported: "copies of events, which are exported",
	},
	impersonal("appservice_access"),
	{Table: "blocked_rooms", Residue: []string{"blocked_by"}, Why: "who answers for the block", NotExported: "what an administrator has blocked"},
	{Table: "room_deletions", Residue: []string{"requested_by", "status"}, Why: "who answers for the deletion", NotExported: "what an administrator had deleted"},
}

// Erasure is the removal of what was somebody's, on its way.
type Erasure struct {
	UserID         matrix.UserID
	OrganisationID int64
	RequestedBy    string
	RequestedTS    matrix.Timestamp
	// Messages and Media say whether these go too.
	Messages, Media bool
	// RoomNID is the last room that is done.
	RoomNID int64
	DoneTS  matrix.Timestamp
}

const erasureColumns = `user_id, organisation_id, requested_by, requested_ts, messages, media, room_nid, coalesce(done_ts, 0)`

func scanErasure(scan func(...any) error) (Erasure, error) {
	var e Erasure
	err := scan(&e.UserID, &e.OrganisationID, &e.RequestedBy, &e.RequestedTS, &e.Messages, &e.Media, &e.RoomNID, &e.DoneTS)
	return e, err
}

// InsertErasure notes that somebody is to be erased, who has been deactivated in the same transaction.
func (tx *Tx) InsertErasure(ctx context.Context, e Erasure) error {
	_, err := tx.exec(ctx, `
		INSERT INTO erasures (user_id, organisation_id, requested_by, requested_ts, messages, media) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (user_id) DO UPDATE SET messages = erasures.messages OR excluded.messages, media = erasures.media OR excluded.media,
			done_ts = NULL, room_nid = 0, leased_until = '-infinity'`,
		string(e.UserID), e.OrganisationID, e.RequestedBy, int64(e.RequestedTS), e.Messages, e.Media)
	return err
}

// GetErasure returns the erasure of somebody of an organisation, or ErrNotFound.
func (s *Store) GetErasure(ctx context.Context, org int64, user matrix.UserID) (Erasure, error) {
	return scanErasure(s.queryRow(ctx, `SELECT `+erasureColumns+` FROM erasures WHERE organisation_id = $1 AND user_id = $2`, org, string(user)).Scan)
}

// HasAccountWork reports whether there is something for ClaimErasure, ClaimScimGroup or ClaimRoomDeletion.
func (s *Store) HasAccountWork(ctx context.Context) (some bool, err error) {
	err = s.queryRow(ctx, `
		SELECT EXISTS (SELECT FROM erasures e WHERE `+erasureDue+`) OR EXISTS (SELECT FROM scim_groups WHERE `+scimGroupDue+`)
			OR EXISTS (SELECT FROM room_deletions d WHERE `+roomDeletionDue+`)`).Scan(&some)
	return some, err
}

// erasureDue is the condition that an erasure is not done, of somebody who is not held, and that nobody is at it.
var erasureDue = `e.done_ts IS NULL AND e.leased_until < now() AND NOT ` + fmt.Sprintf(heldUser, "e.user_id")

// ClaimErasure returns an erasure that is not done and of somebody who is not held, and keeps others from it for a while; or ErrNotFound.
func (s *Store) ClaimErasure(ctx context.Context, lease time.Duration) (Erasure, error) {
	return scanOnce(ctx, s, scanErasure, `
		UPDATE erasures SET leased_until = now() + $1 * interval '1 millisecond'
		WHERE user_id = (
			SELECT user_id FROM erasures e WHERE `+erasureDue+` ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING `+erasureColumns, lease.Milliseconds())
}

// PutErasureRoom notes how far an erasure has come, and keeps the lease.
func (s *Store) PutErasureRoom(ctx context.Context, user matrix.UserID, room int64, lease time.Duration) error {
	_, err := s.exec(ctx, `UPDATE erasures SET room_nid = $2, leased_until = now() + $3 * interval '1 millisecond' WHERE user_id = $1`,
		string(user), room, lease.Milliseconds())
	return err
}

// EraseRows removes what is somebody's from all tables, each in a transaction of its own.
func (s *Store) EraseRows(ctx context.Context, user matrix.UserID) error {
	for _, p := range Inventory {
		if p.Erase == "" {
			continue
		}
		err := s.Write(ctx, func(tx *Tx) error {
			_, err := tx.exec(ctx, p.Erase, string(user))
			return err
		})
		if err != nil {
			return fmt.Errorf("erase %s from %s: %w", user, p.Table, err)
		}
	}
	return nil
}

// FinishErasure notes that an erasure is done, if all media that is to go has gone.
func (s *Store) FinishErasure(ctx context.Context, e Erasure, now matrix.Timestamp, noted func(tx *Tx) error) (done bool, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, `
			UPDATE erasures SET done_ts = $2 WHERE user_id = $1 AND done_ts IS NULL
				AND NOT (media AND EXISTS (SELECT FROM media WHERE user_id = $1))`, string(e.UserID), int64(now))
		if done = n == 1; err != nil || !done {
			return err
		}
		return noted(tx)
	})
	return done, err
}

// ListRoomsAfter returns the rooms that somebody has or had to do with, in their order after one, at most limit.
func (s *Store) ListRoomsAfter(ctx context.Context, user matrix.UserID, after int64, limit int) ([]Room, error) {
	rows, err := s.query(ctx, `
		SELECT `+roomColumns+` FROM memberships JOIN rooms USING (room_nid) WHERE user_id = $1 AND room_nid > $2 ORDER BY room_nid LIMIT $3`,
		string(user), after, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Room, error) { return scanRoom(rows.Scan) })
}

// PersonalEvent is an event that has something of a person in its content.
type PersonalEvent struct {
	Position int64
	EventID  matrix.EventID
	Type     string
	JSON     []byte
}

// ListPersonalEvents returns events of a room after a position: the person's own, and those whose state key is the person's. With
// messages false only state that is about the person. At most limit.
func (s *Store) ListPersonalEvents(ctx context.Context, room int64, user matrix.UserID, messages bool, after int64, limit int) ([]PersonalEvent, error) {
	rows, err := s.query(ctx, `
		SELECT position, event_id, type, json FROM events
		WHERE room_nid = $1 AND position > $2 AND (state_key = $3
			OR sender = $3 AND (state_key IS NULL AND $4 OR state_key IS NOT NULL AND strpos(state_key, $3) > 0))
		ORDER BY position LIMIT $5`, room, after, string(user), messages, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (PersonalEvent, error) {
		var e PersonalEvent
		err := rows.Scan(&e.Position, &e.EventID, &e.Type, &e.JSON)
		return e, err
	})
}

// PutEventContent replaces what is stored of an event by what is left of it when it is redacted, without a redaction. What others say of the
// event stays.
func (s *Store) PutEventContent(ctx context.Context, position int64, redacted []byte) error {
	return s.Write(ctx, func(tx *Tx) error {
		for _, q := range []string{
			`DELETE FROM search_documents WHERE position = $1 OR edit = $1`,
			`WITH lost AS (DELETE FROM media_links WHERE position = $1 AND position > 0 RETURNING server_name, media_id)
				INSERT INTO media_unlinked (server_name, media_id, event_id, redacted_by, unlinked_ts)
				SELECT server_name, media_id, '', '', 0 FROM lost ON CONFLICT DO NOTHING`,
		} {
			if _, err := tx.exec(ctx, q, position); err != nil {
				return err
			}
		}
		_, err := tx.exec(ctx, `UPDATE events SET json = $2, txn_device_id = NULL, txn_id = NULL WHERE position = $1`, position, redacted)
		return err
	})
}

// ForgetTransactions removes from a room's events with which device of a person they were sent.
func (s *Store) ForgetTransactions(ctx context.Context, room int64, user matrix.UserID) error {
	_, err := s.exec(ctx, `
		UPDATE events SET txn_device_id = NULL, txn_id = NULL WHERE room_nid = $1 AND sender = $2 AND txn_device_id IS NOT NULL`, room, string(user))
	return err
}

// ExportRows writes what somebody is given of a table, row by row.
func (s *Store) ExportRows(ctx context.Context, p Personal, user matrix.UserID, row func(json.RawMessage) error) error {
	return s.exportRows(ctx, p.Export, string(user), row)
}

func (s *Store) exportRows(ctx context.Context, query string, of any, row func(json.RawMessage) error) error {
	rows, err := s.query(ctx, `SELECT row_to_json(x) FROM (`+query+`) x`, of)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return wrap(err)
		}
		if err := row(raw); err != nil {
			return err
		}
	}
	return wrap(rows.Err())
}
