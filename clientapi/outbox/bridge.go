package outbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// What telephony bridges ask: they take messages with a lease, and report. There may be several; each message is in one's hands at a time.

// GrantTelephony is what an application service needs for it. It gets the messages of all organisations.
const GrantTelephony = "telephony"

// Routes are the endpoints of this package.
func (s *Server) Routes() []httpapi.Route {
	const telephony = "/_roomline/telephony/v1"
	return append([]httpapi.Route{
		{Method: http.MethodPost, Path: telephony + "/lease", Auth: httpapi.AppserviceToken, Handle: httpapi.JSON(s.lease)},
		{Method: http.MethodPost, Path: telephony + "/outcomes", Auth: httpapi.AppserviceToken, MaxBody: limits.OutcomesAtOnce * 1024, Handle: httpapi.JSON(s.outcomes)},
	}, slices.Concat(s.refusalRoutes(), s.adminRoutes())...)
}

// forBridge keeps everybody else out.
func forBridge(c *httpapi.Call) error {
	if !c.Requester.May(GrantTelephony) {
		return matrix.Forbidden("the application service's registration does not have the grant %s", GrantTelephony)
	}
	return nil
}

type leaseRequest struct {
	// Media are those that the bridge can send by.
	Media []string `json:"media"`
	// Max is how many messages it takes at a time, WaitMS how long it waits for the first.
	Max    int   `json:"max"`
	WaitMS int64 `json:"wait_ms"`
}

type leaseResponse struct {
	Messages []outbox.Message `json:"messages"`
}

// polled is how often somebody who waits looks for messages whose time has come, and for those that no notification told of.
const polled = time.Second

// lease hands messages out.
func (s *Server) lease(ctx context.Context, c *httpapi.Call, req *leaseRequest) (any, error) {
	if err := forBridge(c); err != nil {
		return nil, err
	}
	if len(req.Media) == 0 || len(req.Media) > 2 || slices.ContainsFunc(req.Media, func(m string) bool { return m != outbox.Email && m != outbox.Msisdn }) {
		return nil, matrix.InvalidParam("media must be a list of email and msisdn")
	}
	if req.Max < 1 || req.Max > limits.LeaseAtOnce {
		return nil, matrix.InvalidParam("max must be between 1 and %d", limits.LeaseAtOnce)
	}
	until := time.Now().Add(min(max(time.Duration(req.WaitMS)*time.Millisecond, 0), limits.LeaseWait))
	window := s.cfg.Limits.Window.Milliseconds()
	for {
		woken := s.bell.Next()
		due, err := s.cfg.Store.HasOutboxDue(ctx, req.Media, s.now(), window)
		if err != nil {
			return nil, fmt.Errorf("look for messages: %w", err)
		}
		if due {
			list, err := s.take(ctx, req, window)
			if err != nil || len(list) > 0 {
				return leaseResponse{list}, err
			}
		}
		left := time.Until(until)
		if left <= 0 {
			return leaseResponse{[]outbox.Message{}}, nil
		}
		select {
		case <-woken:
		case <-time.After(min(left, polled)):
		case <-s.stopped():
			return leaseResponse{[]outbox.Message{}}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take leases messages and opens them.
func (s *Server) take(ctx context.Context, req *leaseRequest, window int64) ([]outbox.Message, error) {
	var name [12]byte
	rand.Read(name[:])
	lease := base64.RawURLEncoding.EncodeToString(name[:])
	rows, err := s.cfg.Store.LeaseOutbox(ctx, req.Media, lease, s.now(), req.Max, s.cfg.Limits.leaseFor().Milliseconds(), window)
	if err != nil {
		return nil, fmt.Errorf("lease messages: %w", err)
	}
	brands := map[int64]outbox.Brand{}
	var list []outbox.Message
	for i := range rows {
		m, err := s.open(ctx, &rows[i], brands)
		if err != nil {
			s.cfg.Log.Error("a message can't be sent", "message", rows[i].ID, "error", err)
			if err := s.end(ctx, &outbox.Outcome{ID: rows[i].ID, Lease: lease, State: outbox.Failed, Problem: "unreadable"}, &outcomesResponse{}); err != nil {
				return nil, err
			}
			continue
		}
		list = append(list, m)
	}
	return list, nil
}

// open makes a message of what is stored.
func (s *Server) open(ctx context.Context, row *store.OutboxMessage, brands map[int64]outbox.Brand) (outbox.Message, error) {
	text, err := s.sealer.Open(row.Payload, strconv.FormatInt(row.ID, 10))
	if err != nil {
		return outbox.Message{}, err
	}
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return outbox.Message{}, fmt.Errorf("decode a message: %w", err)
	}
	brand, known := brands[row.OrganisationID]
	if !known {
		if brand, err = s.brand(ctx, row.OrganisationID); err != nil {
			return outbox.Message{}, err
		}
		brands[row.OrganisationID] = brand
	}
	m := outbox.Message{
		ID: row.ID, Lease: row.Lease, Kind: outbox.Kind(row.Kind), Medium: row.Medium, Address: row.Address, Language: p.Language,
		CreatedTS: row.CreatedTS, ExpiresTS: row.ExpiresTS, Brand: brand, Invitation: p.Invitation, Code: p.Code,
	}
	if m.Medium == outbox.Email && m.Kind != outbox.Code {
		m.RefuseURL = s.refuseURL(p.Language, m.Medium, m.Address)
	}
	return m, nil
}

func (s *Server) brand(ctx context.Context, organisation int64) (outbox.Brand, error) {
	if s.cfg.Brand != nil {
		return s.cfg.Brand(ctx, organisation)
	}
	o, err := s.cfg.Store.GetOrganisation(ctx, organisation)
	return outbox.Brand{Name: o.Name}, err
}

type outcomesRequest struct {
	Outcomes []outbox.Outcome `json:"outcomes"`
}

// outcomesResponse names what of the outcomes was not taken.
type outcomesResponse struct {
	// Lost are messages that the bridge no longer has: another one has them, or they were taken back. One that was about to be sent must not
	// be.
	Lost []int64 `json:"lost"`
	// Unknown are references that no message has, or none yet: a receipt may be faster than the report that it is about.
	Unknown []string `json:"unknown"`
}

// outcomes stores what became of messages. The same outcome again changes nothing.
func (s *Server) outcomes(ctx context.Context, c *httpapi.Call, req *outcomesRequest) (any, error) {
	if err := forBridge(c); err != nil {
		return nil, err
	}
	if len(req.Outcomes) > limits.OutcomesAtOnce {
		return nil, matrix.InvalidParam("outcomes must be at most %d", limits.OutcomesAtOnce)
	}
	for i := range req.Outcomes {
		if err := checkOutcome(&req.Outcomes[i]); err != nil {
			return nil, matrix.InvalidParam("outcomes[%d]: %v", i, err)
		}
	}
	answer := outcomesResponse{Lost: []int64{}, Unknown: []string{}}
	for i := range req.Outcomes {
		if err := s.end(ctx, &req.Outcomes[i], &answer); err != nil {
			return nil, fmt.Errorf("store what became of a message: %w", err)
		}
	}
	signal(s.changed)
	return answer, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func checkOutcome(o *outbox.Outcome) error {
	o.Problem = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, o.Problem)
	if len(o.Problem) > limits.MessageProblem {
		o.Problem = strings.ToValidUTF8(o.Problem[:limits.MessageProblem], "")
	}
	over := o.State == outbox.Sent || o.State == outbox.Delivered || o.State == outbox.Failed
	switch {
	case len(o.Reference) > limits.MessageReference || strings.ContainsFunc(o.Reference, unicode.IsControl):
		return errors.New("reference is too long")
	case o.Parts < 0 || o.Parts > 255 || o.RetryAfter < 0:
		return errors.New("parts and retry_after_ms must not be negative, and parts below 256")
	case o.ID == 0 && (o.Reference == "" || o.State != outbox.Delivered && o.State != outbox.Failed):
		return errors.New("a receipt has a reference, and the state delivered or failed")
	case o.ID != 0 && o.Lease == "":
		return errors.New("lease is missing")
	case o.Retry && o.State != outbox.Queued && o.State != outbox.Sending:
		return errors.New("with retry, state must be queued or sending")
	case !o.Retry && !over && o.State != outbox.Sending:
		return errors.New("state must be sending, sent, delivered or failed")
	}
	return nil
}

// end stores one outcome.
func (s *Server) end(ctx context.Context, o *outbox.Outcome, answer *outcomesResponse) error {
	if o.ID != 0 && o.State == outbox.Sending && !o.Retry {
		held, err := s.cfg.Store.PutOutboxSending(ctx, o.ID, o.Lease, o.Reference, s.cfg.Limits.sendingFor().Milliseconds())
		if err == nil && !held {
			answer.Lost = append(answer.Lost, o.ID)
		}
		return err
	}
	var found bool
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		found, err = s.endWithin(ctx, tx, o)
		return err
	})
	switch {
	case err != nil || found:
	case o.ID == 0:
		answer.Unknown = append(answer.Unknown, o.Reference)
	default:
		answer.Lost = append(answer.Lost, o.ID)
	}
	return err
}

func (s *Server) endWithin(ctx context.Context, tx *store.Tx, o *outbox.Outcome) (bool, error) {
	now := s.now()
	if o.ID == 0 {
		return tx.PutOutboxReceipt(ctx, o.Reference, string(o.State), o.Problem, now)
	}
	m, err := tx.GetOutboxForUpdate(ctx, o.ID, o.Lease)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if o.Retry {
		return s.retry(ctx, tx, &m, o)
	}
	end := store.OutboxEnd{State: string(o.State), Reference: o.Reference, Problem: o.Problem}
	if m.Medium == outbox.Msisdn && o.State != outbox.Failed {
		end.Cost = s.cfg.Limits.price(m.Address) * int64(max(o.Parts, 1))
	}
	return tx.PutOutboxEnd(ctx, o.ID, o.Lease, end, now)
}

// retriedMost is the longest pause between two attempts.
const retriedMost = 10 * time.Minute

// retry gives a message back for another attempt.
func (s *Server) retry(ctx context.Context, tx *store.Tx, m *store.OutboxMessage, o *outbox.Outcome) (bool, error) {
	pause := time.Duration(o.RetryAfter) * time.Millisecond
	if pause == 0 {
		first := s.cfg.Limits.retried()
		pause = min(first<<min(max(m.Attempts-1, 0), bits.Len(uint(retriedMost/first))), retriedMost)
		pause += mathrand.N(pause/2 + 1)
	}
	rules, err := s.rulesFor(ctx, tx, m.OrganisationID)
	if err != nil {
		return false, err
	}
	next := s.cfg.Clock.Now().Add(min(pause, 24*time.Hour))
	until, held := rules.quietUntil(&Draft{Kind: outbox.Kind(m.Kind), Medium: m.Medium}, next)
	if held {
		next = until
	}
	return tx.PutOutboxRetry(ctx, m.ID, o.Lease, o.Problem, matrix.TimestampOf(next), held, o.State == outbox.Sending)
}
