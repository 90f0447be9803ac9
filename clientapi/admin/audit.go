package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The audit log of an organisation is read by its owners and auditors, and by the operator, whose reading is an entry of its own. An export
// is a line of JSON for each entry, oldest first, and at the end a checkpoint signed by the organisation's domain: who keeps it can show later
// that entries were taken out, even all from some point on.

func (s *Server) auditEndpoints() []endpoint {
	const others = operator + "/organisations/{organisationId}/audit"
	query := []httpapi.Parameter{
		{Name: "from", Type: "string", Summary: "next_batch of an earlier answer"}, {Name: "limit", Type: "integer", Summary: "at most 1000"},
		{Name: "actor", Type: "string", Summary: "who did it"}, {Name: "target", Type: "string", Summary: "whom or what it was done to"},
		{Name: "action", Type: "string", Summary: "what was done; with a dot at the end all that begins with it"},
		{Name: "since_ts", Type: "integer", Summary: "not before this time, in ms"}, {Name: "until_ts", Type: "integer", Summary: "before this time, in ms"},
	}
	read := httpapi.Doc{Summary: "The audit log, the newest entries first.", Response: auditResponse{}, Query: query}
	export := httpapi.Doc{Summary: "The whole audit log, the oldest entries first, a JSON object a line, and a signed checkpoint at the end.",
		ContentType: jsonLines, Query: []httpapi.Parameter{{Name: "after", Type: "integer", Summary: "leave out entries up to this number"}}}
	verify := httpapi.Doc{Summary: "Whether each entry of the audit log follows from the one before.", Response: AuditVerdict{}}
	return []endpoint{
		{method: get, path: own + "/audit", may: auditors, handle: s.ownAudit(s.readAudit), doc: read},
		{method: get, path: own + "/audit/export", may: auditors, handle: s.ownAudit(s.exportAudit), doc: export},
		{method: get, path: own + "/audit/verify", may: auditors, handle: s.ownAudit(s.verifyAudit), doc: verify},
		{method: get, path: others, may: operators, handle: s.operatorsAudit(s.readAudit), doc: read},
		{method: get, path: others + "/export", may: operators, handle: s.operatorsAudit(s.exportAudit), doc: export},
		{method: get, path: others + "/verify", may: operators, handle: s.operatorsAudit(s.verifyAudit), doc: verify},
	}
}

const jsonLines = "application/x-ndjson"

// AuditEntry is an entry as it is told and exported.
type AuditEntry struct {
	OrganisationID int64            `json:"organisation_id"`
	Seq            int64            `json:"seq"`
	TS             matrix.Timestamp `json:"ts"`
	Actor          string           `json:"actor"`
	IP             string           `json:"ip,omitempty"`
	Action         string           `json:"action"`
	Target         string           `json:"target,omitempty"`
	Outcome        string           `json:"outcome"`
	Detail         json.RawMessage  `json:"detail"`
	// Hash is that of this entry, in hexadecimal: SHA-256 of the hash of the entry before and of this entry's fields.
	Hash string `json:"hash"`
}

type auditResponse struct {
	Entries []AuditEntry `json:"entries"`
	// NextBatch is there if there are older ones: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

// AuditVerdict says whether a log is whole.
type AuditVerdict struct {
	Valid   bool  `json:"valid"`
	Entries int64 `json:"entries"`
	// FirstBad is the number of the first entry that does not follow from the one before, or is missing.
	FirstBad int64 `json:"first_bad,omitempty"`
	// Hash is that of the last entry.
	Hash string `json:"hash"`
}

// AuditCheckpoint is the last line of an export.
type AuditCheckpoint struct {
	Checkpoint bool              `json:"checkpoint"`
	ServerName matrix.ServerName `json:"server_name"`
	// OrganisationID, Seq and Hash are those of the last entry.
	OrganisationID int64            `json:"organisation_id"`
	Seq            int64            `json:"seq"`
	Hash           string           `json:"hash"`
	TS             matrix.Timestamp `json:"ts"`
}

type auditHandler func(ctx context.Context, c *httpapi.Call, org int64) (any, error)

func (s *Server) ownAudit(handle auditHandler) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) { return handle(ctx, c, c.Requester.Org) }
}

// operatorsAudit notes that the operator looks into the log of another organisation.
func (s *Server) operatorsAudit(handle auditHandler) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		o, err := s.organisation(ctx, c)
		if err != nil {
			return nil, err
		}
		if err := s.NoteAuditRead(ctx, operatorOf(c), o.ID); err != nil {
			return nil, err
		}
		return handle(ctx, c, o.ID)
	}
}

// NoteAuditRead writes into the log of an organisation that the operator reads it.
func (s *Server) NoteAuditRead(ctx context.Context, who Who, org int64) error {
	return s.note(ctx, who, act{organisation: org, action: "audit.read"})
}

// note appends an act that changes nothing.
func (s *Server) note(ctx context.Context, who Who, a act) error {
	entries, err := s.entries(who, a)
	if err != nil {
		return err
	}
	return s.cfg.Store.AppendAudit(ctx, entries...)
}

func describeEntry(e *store.AuditEntry) AuditEntry {
	return AuditEntry{
		OrganisationID: e.OrganisationID, Seq: e.Seq, TS: e.TS, Actor: e.Actor, IP: e.IP, Action: e.Action, Target: e.Target,
		Outcome: e.Outcome, Detail: e.Detail, Hash: hex.EncodeToString(e.Hash),
	}
}

func (s *Server) readAudit(ctx context.Context, c *httpapi.Call, org int64) (any, error) {
	f := store.AuditFilter{OrganisationID: org, Before: limits.MaxInteger, Actor: c.Query("actor"), Target: c.Query("target"), Action: c.Query("action")}
	limit, err := c.QueryInt("limit", 100, 1, limits.PageMax)
	if err != nil {
		return nil, err
	}
	if from := c.Query("from"); from != "" {
		if f.Before, err = strconv.ParseInt(from, 10, 64); err != nil || f.Before < 1 {
			return nil, matrix.InvalidParam("from must be a next_batch of an earlier answer")
		}
	}
	for name, ts := range map[string]*matrix.Timestamp{"since_ts": &f.From, "until_ts": &f.To} {
		n, err := c.QueryInt(name, 0, 0, limits.MaxInteger)
		if err != nil {
			return nil, err
		}
		*ts = matrix.Timestamp(n)
	}
	list, err := s.cfg.Store.ListAudit(ctx, f, limit)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	answer := auditResponse{Entries: []AuditEntry{}}
	for i := range list {
		answer.Entries = append(answer.Entries, describeEntry(&list[i]))
	}
	if len(list) == limit {
		answer.NextBatch = strconv.FormatInt(list[limit-1].Seq, 10)
	}
	return answer, nil
}

func (s *Server) exportAudit(ctx context.Context, c *httpapi.Call, org int64) (any, error) {
	after, err := c.QueryInt("after", 0, 0, limits.MaxInteger)
	if err != nil {
		return nil, err
	}
	c.W.Header().Set("Content-Type", jsonLines)
	c.W.Header().Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
	return nil, s.ExportAudit(ctx, c.W, org, int64(after))
}

// ExportAudit writes the log of an organisation, and a signed checkpoint at the end.
func (s *Server) ExportAudit(ctx context.Context, w io.Writer, org, after int64) error {
	domain, err := s.cfg.Store.GetOrganisationDomain(ctx, org)
	if err != nil {
		return fmt.Errorf("look up the organisation's domain: %w", err)
	}
	end := AuditCheckpoint{Checkpoint: true, ServerName: domain, OrganisationID: org, Seq: after, TS: s.now()}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	err = s.eachEntry(ctx, org, after, func(e *store.AuditEntry) error {
		end.Seq, end.Hash = e.Seq, hex.EncodeToString(e.Hash)
		return encoder.Encode(describeEntry(e))
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(end)
	if err != nil {
		return err
	}
	signed, err := s.cfg.Keys.SignJSON(domain, text)
	if err != nil {
		return fmt.Errorf("sign the checkpoint: %w", err)
	}
	_, err = w.Write(append(signed, '\n'))
	return err
}

// eachEntry goes through the log, oldest first.
func (s *Server) eachEntry(ctx context.Context, org, after int64, f func(*store.AuditEntry) error) error {
	for {
		list, err := s.cfg.Store.ListAudit(ctx, store.AuditFilter{OrganisationID: org, After: after}, limits.PageMax)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		for i := range list {
			if err := f(&list[i]); err != nil {
				return err
			}
			after = list[i].Seq
		}
		if len(list) < limits.PageMax {
			return nil
		}
	}
}

func (s *Server) verifyAudit(ctx context.Context, _ *httpapi.Call, org int64) (any, error) {
	return s.VerifyAudit(ctx, org)
}

// errBroken ends the way through a log whose rest says nothing.
var errBroken = errors.New("the chain is broken")

// VerifyAudit checks the log of an organisation. Entries that come meanwhile are no mistake.
func (s *Server) VerifyAudit(ctx context.Context, org int64) (*AuditVerdict, error) {
	seq, _, err := s.cfg.Store.GetAuditHead(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("read the audit log's head: %w", err)
	}
	chain := auditChain{}
	err = s.eachEntry(ctx, org, 0, chain.add)
	if err != nil && !errors.Is(err, errBroken) {
		return nil, err
	}
	if err == nil && chain.verdict.Entries < seq { // the last ones are missing
		chain.verdict.FirstBad = chain.verdict.Entries + 1
	}
	return chain.end(), nil
}

// auditChain checks entries one after the other.
type auditChain struct {
	verdict  AuditVerdict
	previous []byte
}

func (a *auditChain) add(e *store.AuditEntry) error {
	if e.Seq != a.verdict.Entries+1 || !bytes.Equal(e.Hash, e.Digest(a.previous)) {
		a.verdict.FirstBad = a.verdict.Entries + 1
		return errBroken
	}
	a.verdict.Entries++
	a.previous = e.Hash
	return nil
}

func (a *auditChain) end() *AuditVerdict {
	a.verdict.Valid, a.verdict.Hash = a.verdict.FirstBad == 0, hex.EncodeToString(a.previous)
	return &a.verdict
}

// VerifyExport checks an export that begins with the first entry, and that its checkpoint speaks of its last one. The checkpoint's signature is
// for who has the domain's key.
func VerifyExport(r io.Reader) (*AuditVerdict, error) {
	chain := auditChain{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, limits.LargeBody)
	checkpoint := false
	for lines.Scan() {
		var line struct {
			AuditEntry
			Checkpoint bool `json:"checkpoint"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d is not JSON: %w", chain.verdict.Entries+1, err)
		}
		hash, err := hex.DecodeString(line.Hash)
		if err != nil {
			return nil, fmt.Errorf("line %d: hash: %w", chain.verdict.Entries+1, err)
		}
		if line.Checkpoint {
			checkpoint = line.Seq == chain.verdict.Entries && bytes.Equal(hash, chain.previous)
			break
		}
		e := store.AuditEntry{
			OrganisationID: line.OrganisationID, Seq: line.Seq, TS: line.TS, Actor: line.Actor, IP: line.IP, Action: line.Action,
			Target: line.Target, Outcome: line.Outcome, Detail: line.Detail, Hash: hash,
		}
		if chain.add(&e) != nil {
			return chain.end(), nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if !checkpoint {
		chain.verdict.FirstBad = chain.verdict.Entries + 1
	}
	return chain.end(), nil
}
