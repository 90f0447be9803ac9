package store

import (
	"context"
	"database/sql"

	"github.com/roomline/roomline/internal/matrix"
)

// Report is what a user has told the operator about a room, an event of a room, or another user.
type Report struct {
	ID             int64
	OrganisationID int64
	Reporter       matrix.UserID
	// RoomID alone reports the room, with EventID the event; else ReportedUser is set.
	RoomID       matrix.RoomID
	EventID      matrix.EventID
	ReportedUser matrix.UserID
	Reason       string
	ReceivedTS   matrix.Timestamp
}

// InsertReport stores a report. Of a reporter's reports the newest ones are kept, at most kept.
func (s *Store) InsertReport(ctx context.Context, r Report, kept int) error {
	_, err := s.execOnce(ctx, `
		WITH old AS (
			DELETE FROM reports WHERE report_id IN (
				SELECT report_id FROM reports WHERE reporter = $2 ORDER BY report_id DESC OFFSET $8)
		)
		INSERT INTO reports (organisation_id, reporter, room_id, event_id, reported_user_id, reason, received_ts)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		r.OrganisationID, string(r.Reporter), string(r.RoomID), string(r.EventID), string(r.ReportedUser), r.Reason, int64(r.ReceivedTS), kept-1)
	return err
}

const reportColumns = `report_id, organisation_id, reporter, room_id, event_id, reported_user_id, reason, received_ts`

func scanReport(rows *sql.Rows) (Report, error) {
	var r Report
	err := rows.Scan(&r.ID, &r.OrganisationID, &r.Reporter, &r.RoomID, &r.EventID, &r.ReportedUser, &r.Reason, &r.ReceivedTS)
	return r, err
}

// ListReports returns the reports by users of an organisation, newest first, from the one before the id on (0: from the newest), at
// most limit.
func (s *Store) ListReports(ctx context.Context, organisation, before int64, limit int) ([]Report, error) {
	rows, err := s.query(ctx, `
		SELECT `+reportColumns+` FROM reports WHERE organisation_id = $1 AND ($2 = 0 OR report_id < $2)
		ORDER BY report_id DESC LIMIT $3`, organisation, before, limit)
	return scanAll(rows, err, scanReport)
}

// GetReport returns a report, or ErrNotFound; that of another organisation is not found.
func (s *Store) GetReport(ctx context.Context, organisation, id int64) (Report, error) {
	rows, err := s.query(ctx, `SELECT `+reportColumns+` FROM reports WHERE organisation_id = $1 AND report_id = $2`, organisation, id)
	return one(scanAll(rows, err, scanReport))
}

// DeleteReport removes a report that has been dealt with; it is false when there was none.
func (s *Store) DeleteReport(ctx context.Context, organisation, id int64) (bool, error) {
	n, err := s.execOnce(ctx, `DELETE FROM reports WHERE organisation_id = $1 AND report_id = $2`, organisation, id)
	return n == 1, err
}
