package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// Outcomes of what the audit log tells of.
const (
	OutcomeDone    = "ok"
	OutcomeRefused = "refused"
	OutcomeFailed  = "failed"
)

// AuditEntry is something that was done to an organisation or in it.
type AuditEntry struct {
	OrganisationID int64
	// Seq counts the organisation's entries from 1, without a gap. Appending gives it.
	Seq int64
	TS  matrix.Timestamp
	// Actor is a user id, "operator" (at the machine), "appservice:" with an id, or "server".
	Actor string
	// IP is the address that it was asked for from, or empty.
	IP string
	// Action is what was done, as "account.create".
	Action string
	// Target is whom or what it was done to: an id, or empty.
	Target string
	// Outcome is OutcomeDone if empty.
	Outcome string
	// Detail is a JSON object, {} if nil. Neither content nor secrets belong into it.
	Detail json.RawMessage
	// Hash is made of the entry and of the hash before. Appending gives it.
	Hash []byte
}

// Digest is what Hash has to be after an entry with the hash previous, which is empty for the first entry.
func (e *AuditEntry) Digest(previous []byte) []byte {
	h := sha256.New()
	h.Write(previous)
	for _, field := range []string{
		strconv.FormatInt(e.OrganisationID, 10), strconv.FormatInt(e.Seq, 10), strconv.FormatInt(int64(e.TS), 10),
		e.Actor, e.IP, e.Action, e.Target, e.Outcome, string(e.Detail),
	} {
		fmt.Fprintf(h, "%d:%s,", len(field), field)
	}
	return h.Sum(nil)
}

// AppendAudit appends entries to the logs of their organisations.
func (s *Store) AppendAudit(ctx context.Context, entries ...AuditEntry) error {
	return s.Write(ctx, func(tx *Tx) error { return tx.AppendAudit(ctx, entries...) })
}

// AppendAudit appends entries to the logs of their organisations, in the transaction of what they tell of. It comes last there, because
// nobody else can append to these logs before the transaction ends.
func (tx *Tx) AppendAudit(ctx context.Context, entries ...AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	orgs, times := make([]int64, len(entries)), make([]int64, len(entries))
	var texts [6][]string
	for i := range entries {
		e := &entries[i]
		orgs[i], times[i] = e.OrganisationID, int64(e.TS)
		if e.Outcome == "" {
			e.Outcome = OutcomeDone
		}
		if e.Detail == nil {
			e.Detail = json.RawMessage("{}")
		}
		// The text is hashed, so that it has to be what whoever reads an export gets when writing it again.
		var compact bytes.Buffer
		if err := json.Compact(&compact, e.Detail); err != nil {
			return fmt.Errorf("detail of %s: %w", e.Action, err)
		}
		e.Detail = compact.Bytes()
		for j, text := range [...]string{e.Actor, e.IP, e.Action, e.Target, e.Outcome, string(e.Detail)} {
			texts[j] = append(texts[j], storableText(text))
		}
	}
	_, err := tx.exec(ctx, `SELECT audit_append($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])`,
		pq.Array(orgs), pq.Array(times), pq.Array(texts[0]), pq.Array(texts[1]), pq.Array(texts[2]), pq.Array(texts[3]),
		pq.Array(texts[4]), pq.Array(texts[5]))
	if err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	return nil
}

// storableText is text without what PostgreSQL can't hold.
func storableText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// AuditFilter chooses entries of one organisation; what is zero chooses all.
type AuditFilter struct {
	OrganisationID int64
	// Before and After bound Seq, both exclusive. With Before the newest come first, otherwise the oldest.
	Before, After int64
	From, To      matrix.Timestamp
	Actor         string
	Target        string
	// Action is one, or those that begin with it if it ends with a dot.
	Action string
}

const auditColumns = `organisation_id, seq, ts, actor, ip, action, target, outcome, detail, hash`

// ListAudit returns entries, at most limit.
func (s *Store) ListAudit(ctx context.Context, f AuditFilter, limit int) ([]AuditEntry, error) {
	order := `ORDER BY seq`
	if f.Before > 0 {
		order = `ORDER BY seq DESC`
	}
	rows, err := s.query(ctx, `
		SELECT `+auditColumns+` FROM audit_log
		WHERE organisation_id = $1 AND seq > $2 AND ($3::bigint = 0 OR seq < $3) AND ts >= $4 AND ($5::bigint = 0 OR ts < $5)
		AND ($6 = '' OR actor = $6) AND ($7 = '' OR target = $7)
		AND ($8 = '' OR action = $8 OR right($8, 1) = '.' AND starts_with(action, $8))
		`+order+` LIMIT $9`, f.OrganisationID, f.After, f.Before, int64(f.From), int64(f.To), f.Actor, f.Target, f.Action, limit)
	return scanAll(rows, err, func(rows *sql.Rows) (AuditEntry, error) {
		var e AuditEntry
		err := rows.Scan(&e.OrganisationID, &e.Seq, &e.TS, &e.Actor, &e.IP, &e.Action, &e.Target, &e.Outcome, (*[]byte)(&e.Detail), &e.Hash)
		return e, err
	})
}

// GetAuditHead returns the number and the hash of an organisation's last entry, 0 and nil when there is none.
func (s *Store) GetAuditHead(ctx context.Context, org int64) (seq int64, hash []byte, err error) {
	err = s.queryRow(ctx, `SELECT seq, hash FROM audit_heads WHERE organisation_id = $1`, org).Scan(&seq, &hash)
	if err == ErrNotFound {
		return 0, nil, nil
	}
	return seq, hash, err
}
