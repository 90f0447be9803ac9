package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
)

// Viewer is who looks at people. Links are not for guests.
type Viewer struct {
	User         matrix.UserID
	Organisation int64
	Guest        bool
}

// PersonSight is what a viewer may see of a person. Of one's own organisation that is everything, of a linked one what it gives; of somebody
// whom one shares a room with, or is invited by, name and picture. Guests have no organisation of their own: only rooms and themselves.
type PersonSight struct {
	UserID         matrix.UserID
	OrganisationID int64
	Own, Linked    bool
	// Meets: they share a room, or the person has invited the viewer to one.
	Meets bool
	Sharing
}

// Known reports whether the viewer may know that the person exists.
func (s PersonSight) Known() bool { return s.Own || s.Linked || s.Meets }

// Invitable reports whether the viewer may invite the person.
func (s PersonSight) Invitable() bool { return s.Own || s.Linked && s.Invite }

// meets says whether $1 shares a room with u.user_id, or was invited to one by u.
const meets = `EXISTS (
	SELECT FROM memberships mine JOIN memberships theirs USING (room_nid)
	WHERE mine.user_id = $1 AND theirs.user_id = u.user_id AND theirs.membership = 'join'
		AND (mine.membership = 'join' OR mine.membership = 'invite' AND mine.sender = u.user_id))`

// own says whether u is of the viewer's side: of organisation $2, or, when the viewer is a guest ($4), the viewer ($1).
const own = `(u.organisation_id = $2 AND NOT $4 OR u.user_id = $1)`

// ListPersonSights says of each of the users what the viewer may see. Who is not known, because there is no such account, because it is closed or
// because it is none of the viewer's business, is not in the list.
func (s *Store) ListPersonSights(ctx context.Context, viewer Viewer, users []matrix.UserID) ([]PersonSight, error) {
	rows, err := s.query(ctx, `
		SELECT u.user_id, u.organisation_id, `+own+`, g.owner_id IS NOT NULL,
			CASE WHEN `+own+` THEN false ELSE `+meets+` END,
			coalesce(g.name, false), coalesce(g.avatar, false), coalesce(g.email, false), coalesce(g.phone, false),
			coalesce(g.presence, false), coalesce(g.phone_presence, false), coalesce(g.work, false), coalesce(g.invite, false)
		FROM users u LEFT JOIN organisation_sharings g ON g.viewer_id = $2 AND g.owner_id = u.organisation_id AND NOT $4
		WHERE u.user_id = ANY ($3) AND u.deactivated_ts IS NULL`,
		string(viewer.User), viewer.Organisation, stringArray(users), viewer.Guest)
	all, err := scanAll(rows, err, func(rows *sql.Rows) (PersonSight, error) {
		var t PersonSight
		err := rows.Scan(&t.UserID, &t.OrganisationID, &t.Own, &t.Linked, &t.Meets,
			&t.Name, &t.Avatar, &t.Email, &t.Phone, &t.Presence, &t.PhonePresence, &t.Work, &t.Invite)
		if t.Own {
			t.Sharing = everything
		}
		t.Name, t.Avatar = t.Name || t.Meets, t.Avatar || t.Meets
		return t, err
	})
	if err != nil {
		return nil, err
	}
	known := all[:0]
	for _, t := range all {
		if t.Known() {
			known = append(known, t)
		}
	}
	return known, nil
}

// GetPersonSight says what the viewer may see of a person; false: nothing, be it that there is nobody.
func (s *Store) GetPersonSight(ctx context.Context, viewer Viewer, user matrix.UserID) (PersonSight, bool, error) {
	list, err := s.ListPersonSights(ctx, viewer, []matrix.UserID{user})
	if err != nil || len(list) == 0 {
		return PersonSight{}, false, err
	}
	return list[0], true, nil
}

// ListStrangers returns those of the users whom the viewer may not know, be it that they do not exist. Users of the viewer's own domain are of
// the viewer's organisation, and are not asked about, unless the viewer is a guest.
func (s *Store) ListStrangers(ctx context.Context, viewer Viewer, users []matrix.UserID) (map[matrix.UserID]bool, error) {
	var others []matrix.UserID
	strangers := make(map[matrix.UserID]bool)
	for _, user := range users {
		if user.Domain() != viewer.User.Domain() || viewer.Guest {
			others = append(others, user)
			strangers[user] = true
		}
	}
	if len(others) == 0 {
		return nil, nil
	}
	known, err := s.ListPersonSights(ctx, viewer, others)
	if err != nil {
		return nil, fmt.Errorf("look up who knows whom: %w", err)
	}
	for _, sight := range known {
		delete(strangers, sight.UserID)
	}
	return strangers, nil
}

// PresenceSight is what a viewer may know of a person's presence.
type PresenceSight struct {
	UserID          matrix.UserID
	Presence, Phone bool
}

// ListPresenceSights says of each of the users whose presence people of an organisation may know something what they may know. It does not ask
// for rooms: sharing one gives no presence to people of other organisations.
func (s *Store) ListPresenceSights(ctx context.Context, viewerOrg int64, guest bool, users []matrix.UserID) (map[matrix.UserID]PresenceSight, error) {
	rows, err := s.query(ctx, `
		SELECT u.user_id, u.organisation_id = $1 OR g.presence, u.organisation_id = $1 OR g.phone_presence
		FROM users u LEFT JOIN organisation_sharings g ON g.viewer_id = $1 AND g.owner_id = u.organisation_id AND NOT $3
		WHERE u.user_id = ANY ($2) AND (u.organisation_id = $1 OR g.presence OR g.phone_presence)`, viewerOrg, stringArray(users), guest)
	list, err := scanAll(rows, err, func(rows *sql.Rows) (PresenceSight, error) {
		var p PresenceSight
		err := rows.Scan(&p.UserID, &p.Presence, &p.Phone)
		return p, err
	})
	found := make(map[matrix.UserID]PresenceSight, len(list))
	for _, p := range list {
		found[p.UserID] = p
	}
	return found, err
}

// SeesAvatar reports whether a user may see another's picture because their organisations are linked.
func (s *Store) SeesAvatar(ctx context.Context, user, other matrix.UserID) (bool, error) {
	var sees bool
	err := s.queryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM users me JOIN users o ON o.user_id = $2
			JOIN organisation_sharings g ON g.viewer_id = me.organisation_id AND g.owner_id = o.organisation_id AND g.avatar
			WHERE me.user_id = $1 AND NOT me.guest)`, string(user), string(other)).Scan(&sees)
	return sees, err
}
