package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// Sharing is what an organisation gives to a linked one: which fields of its people, and whether they may be invited.
type Sharing struct {
	Name     bool `json:"name"`
	Avatar   bool `json:"avatar"`
	Email    bool `json:"email"`
	Phone    bool `json:"phone"`
	Presence bool `json:"presence"`
	// PhonePresence is whether somebody is on the phone.
	PhonePresence bool `json:"phone_presence"`
	// Work is title and department.
	Work bool `json:"work"`
	// Invite: the people of the linked organisation may invite those of this one.
	Invite bool `json:"invite"`
}

// everything is what people of one organisation see of each other.
var everything = Sharing{true, true, true, true, true, true, true, true}

// LinkState is what has become of a link.
type LinkState string

// States. The last three are for ever.
const (
	LinkProposed  LinkState = "proposed"
	LinkActive    LinkState = "active"
	LinkRefused   LinkState = "refused"
	LinkWithdrawn LinkState = "withdrawn"
	LinkRevoked   LinkState = "revoked"
)

// Link is a link between two organisations.
type Link struct {
	ID int64
	// OrganisationID proposed it to whoever has Domain. OtherID is that one, 0 before it has answered.
	OrganisationID int64
	Domain         matrix.ServerName
	OtherID        int64
	State          LinkState
	// Offer is what the proposer offered.
	Offer      Sharing
	Message    string
	ProposedTS matrix.Timestamp
	SinceTS    matrix.Timestamp
	// Gives is what the proposer gives to the other side, OtherGives the contrary, while the link is active.
	Gives, OtherGives Sharing
}

// Other is the side that org is not; 0 if it is not known.
func (l Link) Other(org int64) int64 {
	if org == l.OrganisationID {
		return l.OtherID
	}
	return l.OrganisationID
}

const (
	sharingColumns = `%[1]s.name, %[1]s.avatar, %[1]s.email, %[1]s.phone, %[1]s.presence, %[1]s.phone_presence, %[1]s.work, %[1]s.invite`
	linkSelect     = `SELECT l.link_id, l.organisation_id, l.domain, coalesce(l.other_id, 0), l.state, l.offer, l.message, l.proposed_ts, l.since_ts,
			to_jsonb(g), to_jsonb(o)
		FROM organisation_links l
		LEFT JOIN organisation_sharings g ON g.link_id = l.link_id AND g.owner_id = l.organisation_id
		LEFT JOIN organisation_sharings o ON o.link_id = l.link_id AND o.owner_id = l.other_id `
	// linkOf are the links of organisation $1: those that it proposed, that it answered, and that are proposed to one of its domains.
	linkOf = `(l.organisation_id = $1 OR l.other_id = $1 OR l.state = 'proposed' AND l.other_id IS NULL
			AND l.domain IN (SELECT server_name FROM hosted_domains WHERE organisation_id = $1))`
)

func scanLink(scan func(...any) error) (Link, error) {
	var l Link
	var offer, gives, otherGives []byte
	err := scan(&l.ID, &l.OrganisationID, &l.Domain, &l.OtherID, &l.State, &offer, &l.Message, &l.ProposedTS, &l.SinceTS, &gives, &otherGives)
	if err != nil {
		return l, err
	}
	for into, text := range map[*Sharing][]byte{&l.Offer: offer, &l.Gives: gives, &l.OtherGives: otherGives} {
		if text == nil {
			continue
		}
		if err := json.Unmarshal(text, into); err != nil {
			return l, fmt.Errorf("read what link %d gives: %w", l.ID, err)
		}
	}
	return l, nil
}

// ListLinks returns the links of an organisation, newest first, from the one before the id on (0: from the newest), at most limit.
func (s *Store) ListLinks(ctx context.Context, org, before int64, limit int) ([]Link, error) {
	rows, err := s.query(ctx, linkSelect+`WHERE `+linkOf+` AND ($2::bigint = 0 OR l.link_id < $2) ORDER BY l.link_id DESC LIMIT $3`, org, before, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (Link, error) { return scanLink(rows.Scan) })
}

// GetLink returns a link of an organisation, or ErrNotFound.
func (s *Store) GetLink(ctx context.Context, org, id int64) (Link, error) {
	return scanLink(s.queryRow(ctx, linkSelect+`WHERE `+linkOf+` AND l.link_id = $2`, org, id).Scan)
}

// LockLink returns a link of an organisation and keeps everybody else from changing it until the transaction ends; or ErrNotFound.
func (tx *Tx) LockLink(ctx context.Context, org, id int64) (Link, error) {
	return scanLink(tx.queryRow(ctx, linkSelect+`WHERE `+linkOf+` AND l.link_id = $2 FOR UPDATE OF l`, org, id).Scan)
}

// InsertLink proposes a link and returns its number. It is 0 when the organisation has one with the domain already.
func (tx *Tx) InsertLink(ctx context.Context, l Link) (int64, error) {
	offer, err := json.Marshal(l.Offer)
	if err != nil {
		return 0, err
	}
	rows, err := tx.query(ctx, `
		INSERT INTO organisation_links (organisation_id, domain, state, offer, message, proposed_ts, since_ts)
		VALUES ($1, $2, 'proposed', $3, $4, $5, $5) ON CONFLICT DO NOTHING RETURNING link_id`,
		l.OrganisationID, string(l.Domain), offer, l.Message, int64(l.ProposedTS))
	ids, err := scanAll(rows, err, scanInt64)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return ids[0], nil
}

func scanInt64(rows *sql.Rows) (int64, error) {
	var n int64
	err := rows.Scan(&n)
	return n, err
}

// CountOpenLinks counts the links that an organisation has or has proposed.
func (tx *Tx) CountOpenLinks(ctx context.Context, org int64) (int, error) {
	var n int
	err := tx.queryRow(ctx, `
		SELECT count(*) FROM organisation_links WHERE state IN ('proposed', 'active') AND (organisation_id = $1 OR other_id = $1)`, org).Scan(&n)
	return n, err
}

// PutOffer changes what a proposed link offers.
func (tx *Tx) PutOffer(ctx context.Context, id int64, offer Sharing) error {
	text, err := json.Marshal(offer)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `UPDATE organisation_links SET offer = $2 WHERE link_id = $1`, id, text)
	return err
}

// PutSharing stores what an organisation gives to another. It holds at once.
func (tx *Tx) PutSharing(ctx context.Context, link, owner, viewer int64, gives Sharing) error {
	_, err := tx.exec(ctx, `
		INSERT INTO organisation_sharings (viewer_id, owner_id, link_id, name, avatar, email, phone, presence, phone_presence, invite, work)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (viewer_id, owner_id) DO UPDATE SET link_id = excluded.link_id, name = excluded.name, avatar = excluded.avatar,
			email = excluded.email, phone = excluded.phone, presence = excluded.presence, phone_presence = excluded.phone_presence,
			invite = excluded.invite, work = excluded.work`,
		viewer, owner, link, gives.Name, gives.Avatar, gives.Email, gives.Phone, gives.Presence, gives.PhonePresence, gives.Invite, gives.Work)
	return err
}

// ActivateLink makes a proposed link hold: the proposer gives what it offered, the other side gives. False, and nothing is changed, when the two
// are linked already.
func (tx *Tx) ActivateLink(ctx context.Context, l Link, other int64, gives Sharing, now matrix.Timestamp) (bool, error) {
	// Two links between the same two that are accepted at once: the lower organisation's row is the lock.
	if _, err := tx.exec(ctx, `SELECT FROM organisations WHERE organisation_id = $1 FOR UPDATE`, min(l.OrganisationID, other)); err != nil {
		return false, err
	}
	var linked bool
	err := tx.queryRow(ctx, `SELECT EXISTS (SELECT FROM organisation_sharings WHERE viewer_id = $1 AND owner_id = $2)`, other, l.OrganisationID).Scan(&linked)
	if err != nil || linked {
		return false, err
	}
	if _, err := tx.exec(ctx, `
		UPDATE organisation_links SET state = 'active', other_id = $2, since_ts = $3 WHERE link_id = $1`, l.ID, other, int64(now)); err != nil {
		return false, err
	}
	if err := tx.PutSharing(ctx, l.ID, l.OrganisationID, other, l.Offer); err != nil {
		return false, err
	}
	if err := tx.PutSharing(ctx, l.ID, other, l.OrganisationID, gives); err != nil {
		return false, err
	}
	// What else the two have proposed to each other has no object any more.
	_, err = tx.exec(ctx, `
		UPDATE organisation_links SET state = 'withdrawn', since_ts = $3
		WHERE state = 'proposed' AND (
			organisation_id = $1 AND domain IN (SELECT server_name FROM hosted_domains WHERE organisation_id = $2)
			OR organisation_id = $2 AND domain IN (SELECT server_name FROM hosted_domains WHERE organisation_id = $1))`,
		l.OrganisationID, other, int64(now))
	return true, err
}

// EndLink ends a link: nothing is given any more from the commit on. by is the organisation that ends it.
func (tx *Tx) EndLink(ctx context.Context, id, by int64, state LinkState, now matrix.Timestamp) error {
	if _, err := tx.exec(ctx, `DELETE FROM organisation_sharings WHERE link_id = $1`, id); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `
		UPDATE organisation_links SET state = $3, since_ts = $4,
			other_id = CASE WHEN organisation_id = $2 THEN other_id ELSE $2 END WHERE link_id = $1`, id, by, string(state), int64(now))
	return err
}

// EndLinks ends all links of an organisation that ceases to be.
func (tx *Tx) EndLinks(ctx context.Context, org int64, now matrix.Timestamp) error {
	if _, err := tx.exec(ctx, `DELETE FROM organisation_sharings WHERE viewer_id = $1 OR owner_id = $1`, org); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `
		UPDATE organisation_links SET state = CASE state WHEN 'active' THEN 'revoked' ELSE 'withdrawn' END, since_ts = $2
		WHERE state IN ('proposed', 'active') AND (organisation_id = $1 OR other_id = $1)`, org, int64(now))
	return err
}

// OrganisationSharing is what one organisation gives to another.
type OrganisationSharing struct {
	OwnerID int64
	// OwnerName is what the owner calls itself.
	OwnerName string
	Sharing
}

// Sharing returns what an organisation gives to another; false: nothing, they are not linked. An organisation gives itself everything.
func (s *Store) Sharing(ctx context.Context, viewerOrg, ownerOrg int64) (Sharing, bool, error) {
	if viewerOrg == ownerOrg {
		return everything, true, nil
	}
	rows, err := s.query(ctx, `SELECT `+fmt.Sprintf(sharingColumns, "g")+` FROM organisation_sharings g WHERE viewer_id = $1 AND owner_id = $2`, viewerOrg, ownerOrg)
	list, err := scanAll(rows, err, func(rows *sql.Rows) (Sharing, error) {
		var g Sharing
		err := rows.Scan(&g.Name, &g.Avatar, &g.Email, &g.Phone, &g.Presence, &g.PhonePresence, &g.Work, &g.Invite)
		return g, err
	})
	if err != nil || len(list) == 0 {
		return Sharing{}, false, err
	}
	return list[0], true, nil
}

// ListSharings returns what linked organisations give to one.
func (s *Store) ListSharings(ctx context.Context, viewerOrg int64) ([]OrganisationSharing, error) {
	rows, err := s.query(ctx, `
		SELECT g.owner_id, o.name, `+fmt.Sprintf(sharingColumns, "g")+`
		FROM organisation_sharings g JOIN organisations o ON o.organisation_id = g.owner_id WHERE g.viewer_id = $1 ORDER BY g.owner_id`, viewerOrg)
	return scanAll(rows, err, func(rows *sql.Rows) (OrganisationSharing, error) {
		var g OrganisationSharing
		err := rows.Scan(&g.OwnerID, &g.OwnerName, &g.Name, &g.Avatar, &g.Email, &g.Phone, &g.Presence, &g.PhonePresence, &g.Work, &g.Invite)
		return g, err
	})
}
