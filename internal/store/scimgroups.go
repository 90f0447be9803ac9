package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// ScimGroup is a group of people, and the room or space that stands for it.
type ScimGroup struct {
	GroupID        string
	OrganisationID int64
	DisplayName    string
	ExternalID     string
	// Kind is room, space or none; RoomID is empty until the room is made.
	Kind       string
	RoomID     matrix.RoomID
	CreatedTS  matrix.Timestamp
	ModifiedTS matrix.Timestamp
	Deleted    bool
}

const scimGroupColumns = `g.group_id, g.organisation_id, g.display_name, coalesce(g.external_id, ''), g.kind, coalesce(g.room_id, ''), g.created_ts,
	g.modified_ts, g.deleted`

func scanScimGroup(scan func(...any) error) (ScimGroup, error) {
	var g ScimGroup
	err := scan(&g.GroupID, &g.OrganisationID, &g.DisplayName, &g.ExternalID, &g.Kind, &g.RoomID, &g.CreatedTS, &g.ModifiedTS, &g.Deleted)
	return g, err
}

// GetScimGroup returns a group of an organisation, or ErrNotFound.
func (s *Store) GetScimGroup(ctx context.Context, org int64, id string) (ScimGroup, error) {
	return scanScimGroup(s.queryRow(ctx, `
		SELECT `+scimGroupColumns+` FROM scim_groups g WHERE organisation_id = $1 AND group_id = $2 AND NOT deleted`, org, id).Scan)
}

// LockScimGroup returns a group of an organisation and keeps everybody else from changing it, or ErrNotFound.
func (tx *Tx) LockScimGroup(ctx context.Context, org int64, id string) (ScimGroup, error) {
	return scanScimGroup(tx.queryRow(ctx, `
		SELECT `+scimGroupColumns+` FROM scim_groups g WHERE organisation_id = $1 AND group_id = $2 AND NOT deleted FOR UPDATE`, org, id).Scan)
}

var scimGroupSQL = scimSQL{
	texts: map[string]string{
		"id": "g.group_id", "displayName": "g.display_name", "externalId": "g.external_id", "meta.resourceType": "'Group'",
		scimOwner + "Group.roomId": "g.room_id", scimOwner + "Group.kind": "g.kind",
	},
	times: map[string]string{"meta.created": "g.created_ts", "meta.lastModified": "g.modified_ts"},
	json:  "'{}'::jsonb",
	relations: map[string][2]string{
		"members": {"scim_group_members r WHERE r.group_id = g.group_id AND NOT r.leaving", "r.user_id"},
	},
	equal: map[string]string{
		"members.value": "g.group_id IN (SELECT group_id FROM scim_group_members WHERE user_id = %s AND NOT leaving)",
	},
}

// ListScimGroups returns the groups of an organisation that a filter chooses (nil: all), in the order of their ids, and how many there are.
func (s *Store) ListScimGroups(ctx context.Context, org int64, f *ScimFilter, from, limit int) (list []ScimGroup, total int64, err error) {
	c := scimCompiler{kind: &scimGroupSQL, args: []any{org}}
	where, err := c.where(f)
	if err != nil {
		return nil, 0, err
	}
	const groups = ` FROM scim_groups g WHERE g.organisation_id = $1 AND NOT g.deleted`
	if err := s.queryRow(ctx, `SELECT count(*)`+groups+where, c.args...).Scan(&total); err != nil || limit == 0 {
		return nil, total, err
	}
	rows, err := s.query(ctx, `SELECT `+scimGroupColumns+groups+where+fmt.Sprintf(` ORDER BY g.group_id OFFSET %d LIMIT %d`, from, limit), c.args...)
	list, err = scanAll(rows, err, func(rows *sql.Rows) (ScimGroup, error) { return scanScimGroup(rows.Scan) })
	return list, total, err
}

// ScimMember is a person in a group.
type ScimMember struct {
	GroupID string
	UserID  matrix.UserID
	// Name is the JSON of the display name, or nil.
	Name []byte
}

// ListScimMembers returns who is in the groups, in the order of their user ids.
func (s *Store) ListScimMembers(ctx context.Context, groups []string) ([]ScimMember, error) {
	return listScimMembers(ctx, s, groups)
}

// ListScimMembers returns who is in the groups, in the order of their user ids.
func (tx *Tx) ListScimMembers(ctx context.Context, groups []string) ([]ScimMember, error) {
	return listScimMembers(ctx, tx, groups)
}

func listScimMembers(ctx context.Context, q querier, groups []string) ([]ScimMember, error) {
	rows, err := q.query(ctx, `
		SELECT m.group_id, m.user_id, p.value FROM scim_group_members m
		LEFT JOIN profiles p ON p.user_id = m.user_id AND p.key = 'displayname'
		WHERE m.group_id = ANY ($1) AND NOT m.leaving ORDER BY m.group_id, m.user_id`, pq.Array(groups))
	return scanAll(rows, err, func(rows *sql.Rows) (ScimMember, error) {
		var m ScimMember
		err := rows.Scan(&m.GroupID, &m.UserID, &m.Name)
		return m, err
	})
}

// InsertScimGroup stores a new group, whose room is still to be told of it.
func (tx *Tx) InsertScimGroup(ctx context.Context, g ScimGroup) error {
	_, err := tx.exec(ctx, `
		INSERT INTO scim_groups (group_id, organisation_id, display_name, external_id, kind, room_id, created_ts, modified_ts, pending)
		VALUES ($1, $2, $3, nullif($4, ''), $5, nullif($6, ''), $7, $7, true)`,
		g.GroupID, g.OrganisationID, g.DisplayName, g.ExternalID, g.Kind, string(g.RoomID), int64(g.CreatedTS))
	return err
}

// PutScimGroup changes a group, whose room is still to be told of it.
func (tx *Tx) PutScimGroup(ctx context.Context, g ScimGroup) error {
	_, err := tx.exec(ctx, `
		UPDATE scim_groups SET display_name = $2, external_id = nullif($3, ''), modified_ts = $4, pending = true, leased_until = '-infinity'
		WHERE group_id = $1`, g.GroupID, g.DisplayName, g.ExternalID, int64(g.ModifiedTS))
	return err
}

// DeleteScimGroup marks a group as gone; the row goes when everybody has left its room.
func (tx *Tx) DeleteScimGroup(ctx context.Context, id string, now matrix.Timestamp) error {
	_, err := tx.exec(ctx, `
		UPDATE scim_groups SET deleted = true, modified_ts = $2, pending = true, leased_until = '-infinity' WHERE group_id = $1`, id, int64(now))
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `UPDATE scim_group_members SET leaving = true WHERE group_id = $1`, id)
	return err
}

// PutScimMembers makes the group's people those of the list who are people of its organisation. It returns those who are not.
func (tx *Tx) PutScimMembers(ctx context.Context, g ScimGroup, users []matrix.UserID) (unknown []matrix.UserID, err error) {
	rows, err := tx.query(ctx, `
		SELECT x.id FROM unnest($2::text[]) AS x (id)
		WHERE NOT EXISTS (SELECT FROM users u WHERE u.user_id = x.id AND u.organisation_id = $1 AND u.deactivated_ts IS NULL)`,
		g.OrganisationID, stringArray(users))
	if unknown, err = scanAll(rows, err, scanUserID); err != nil || len(unknown) > 0 {
		return unknown, err
	}
	_, err = tx.exec(ctx, `
		UPDATE scim_group_members SET leaving = user_id <> ALL ($2) WHERE group_id = $1 AND leaving <> (user_id <> ALL ($2))`,
		g.GroupID, stringArray(users))
	if err != nil {
		return nil, err
	}
	_, err = tx.exec(ctx, `
		INSERT INTO scim_group_members (group_id, user_id) SELECT $1, x.id FROM unnest($2::text[]) AS x (id) ON CONFLICT DO NOTHING`,
		g.GroupID, stringArray(users))
	return nil, err
}

// scimGroupDue is the condition that a group's room is still to be told, and that nobody is at it.
const scimGroupDue = `pending AND leased_until < now()`

// ClaimScimGroup returns a group whose room is still to be told, and keeps others from it for a while; or ErrNotFound.
func (s *Store) ClaimScimGroup(ctx context.Context, lease time.Duration) (ScimGroup, error) {
	return scanOnce(ctx, s, scanScimGroup, `
		UPDATE scim_groups g SET leased_until = now() + $1 * interval '1 millisecond'
		WHERE group_id = (
			SELECT group_id FROM scim_groups WHERE `+scimGroupDue+` ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING `+scimGroupColumns, lease.Milliseconds())
}

// PutScimGroupRoom notes which room stands for a group.
func (s *Store) PutScimGroupRoom(ctx context.Context, id string, room matrix.RoomID) error {
	_, err := s.exec(ctx, `UPDATE scim_groups SET room_id = $2 WHERE group_id = $1`, id, string(room))
	return err
}

// ListScimEnrolments returns people whose membership of the group's room is not as the group has it: those who are to be put in
// (leave false) or taken out. At most limit.
func (s *Store) ListScimEnrolments(ctx context.Context, id string, leave bool, limit int) ([]matrix.UserID, error) {
	rows, err := s.query(ctx, `
		SELECT m.user_id FROM scim_group_members m JOIN users u USING (user_id)
		WHERE m.group_id = $1 AND m.leaving = $2 AND ($2 OR NOT m.enrolled AND u.deactivated_ts IS NULL) ORDER BY m.user_id LIMIT $3`, id, leave, limit)
	return scanAll(rows, err, scanUserID)
}

// PutScimEnrolled notes that a person was put into the group's room, or forgets one who was taken out.
func (s *Store) PutScimEnrolled(ctx context.Context, id string, user matrix.UserID, leave bool) error {
	query := `UPDATE scim_group_members SET enrolled = true WHERE group_id = $1 AND user_id = $2`
	if leave {
		query = `DELETE FROM scim_group_members WHERE group_id = $1 AND user_id = $2 AND leaving`
	}
	_, err := s.exec(ctx, query, id, string(user))
	return err
}

// FinishScimGroup notes that a group's room knows of it, unless the group was changed since; a group that is gone goes for good.
func (s *Store) FinishScimGroup(ctx context.Context, g ScimGroup) error {
	_, err := s.exec(ctx, `
		UPDATE scim_groups SET pending = false WHERE group_id = $1 AND modified_ts = $2 AND NOT deleted
			AND NOT EXISTS (SELECT FROM scim_group_members m JOIN users u USING (user_id)
				WHERE m.group_id = $1 AND (m.leaving OR NOT m.enrolled AND u.deactivated_ts IS NULL))`, g.GroupID, int64(g.ModifiedTS))
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, `
		DELETE FROM scim_groups WHERE group_id = $1 AND deleted AND NOT EXISTS (SELECT FROM scim_group_members WHERE group_id = $1)`, g.GroupID)
	return err
}
