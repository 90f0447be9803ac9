package outbox

import (
	"context"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// What administrators see and do: the log of messages, what was spent, and whether sending is paused.

func (s *Server) adminRoutes() []httpapi.Route {
	const own, operator = "/_roomline/admin/v1/messages", "/_roomline/operator/v1/messages"
	routes := []httpapi.Route{}
	add := func(method, path, limit string, who string, may func(*httpapi.Requester) bool, handle httpapi.Handler, doc httpapi.Doc) {
		doc.Who = who
		routes = append(routes, httpapi.Route{
			Method: method, Path: path, Auth: httpapi.AccessToken, Limit: limit, Doc: &doc,
			Handle: httpapi.ForThose(may, handle),
		})
	}
	owner := func(r *httpapi.Requester) bool { return r.Admin }
	add(http.MethodGet, own, ratelimit.Read, "owner, auditor", (*httpapi.Requester).Audits, s.listMessages, httpapi.Doc{
		Summary: "The mails and short messages that were sent for the organisation, the newest first, without what they say.", Response: messagesResponse{},
		Query: []httpapi.Parameter{
			{Name: "from", Type: "integer", Summary: "Only messages with a lower id: next_from of the answer before."},
			{Name: "limit", Type: "integer", Summary: "At most so many, up to 500."},
			{Name: "state", Type: "string", Summary: "held, queued, sending (the network may have got it), sent, delivered, failed or cancelled."},
			{Name: "medium", Type: "string", Summary: "email or msisdn."},
			{Name: "kind", Type: "string", Summary: "invitation, cancellation or code."},
			{Name: "invitation_id", Type: "string", Summary: "Those about an invitation."},
			{Name: "sender", Type: "string", Summary: "Those that a user had sent."},
		}})
	add(http.MethodGet, own+"/spending", ratelimit.Read, "owner, auditor", (*httpapi.Requester).Audits, s.getSpending, httpapi.Doc{
		Summary: "What was spent on messages, the budget, and whether invitations by short message are paused.", Response: spendingResponse{}})
	add(http.MethodPost, own+"/resume", ratelimit.Account, "owner", owner, s.resume, httpapi.Doc{
		Summary: "Let invitations by short message go on that were paused because few of them were used."})
	add(http.MethodDelete, operator+"/refusals/{medium}/{address}", ratelimit.Account, "operator", (*httpapi.Requester).Operator, s.deleteRefusal, httpapi.Doc{
		Summary: "Let an address be written to again that refused messages, because its owner asks for it."})
	return routes
}

type messagesResponse struct {
	Messages []messageItem `json:"messages"`
	// NextFrom is from of the next request, missing when there are no more.
	NextFrom int64 `json:"next_from,omitempty"`
}

// messageItem is a message as administrators see it.
type messageItem struct {
	ID           int64            `json:"id"`
	Kind         string           `json:"kind"`
	Medium       string           `json:"medium"`
	Address      string           `json:"address"`
	State        string           `json:"state"`
	Sender       matrix.UserID    `json:"sender,omitempty"`
	InvitationID string           `json:"invitation_id,omitempty"`
	Attempts     int              `json:"attempts"`
	Problem      string           `json:"problem,omitempty"`
	Reference    string           `json:"reference,omitempty"`
	Cost         string           `json:"cost"`
	CreatedTS    matrix.Timestamp `json:"created_ts"`
	// NextTS is when it is sent. Of one in the state sending, of which it is not known whether it went, it is when it is sent again if nobody
	// learns that until then.
	NextTS     matrix.Timestamp `json:"next_ts,omitempty"`
	SentTS     matrix.Timestamp `json:"sent_ts,omitempty"`
	FinishedTS matrix.Timestamp `json:"finished_ts,omitempty"`
}

func (s *Server) listMessages(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, limits.MessagesPage)
	if err != nil {
		return nil, err
	}
	before, err := c.QueryInt("from", 0, 0, 1<<53)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListOutbox(ctx, store.OutboxFilter{
		OrganisationID: c.Requester.Org, Before: int64(before), State: c.Query("state"), Medium: c.Query("medium"), Kind: c.Query("kind"),
		InvitationID: c.Query("invitation_id"), Sender: c.Query("sender"), Window: s.cfg.Limits.Window.Milliseconds(),
	}, limit)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	answer := messagesResponse{Messages: make([]messageItem, len(list))}
	for i := range list {
		m := &list[i]
		answer.Messages[i] = messageItem{
			ID: m.ID, Kind: m.Kind, Medium: m.Medium, Address: m.Address, State: m.State, Sender: m.Sender, InvitationID: m.InvitationID,
			Attempts: m.Attempts, Problem: m.Problem, Reference: m.Reference, Cost: FormatMoney(m.Cost), CreatedTS: m.CreatedTS, SentTS: m.SentTS,
			FinishedTS: m.FinishedTS,
		}
		if s := outbox.State(m.State); s == outbox.Held || s == outbox.Queued || s == outbox.Sending {
			answer.Messages[i].NextTS = m.NextTS
		}
	}
	if len(list) == limit {
		answer.NextFrom = list[limit-1].ID
	}
	return answer, nil
}

type spendingResponse struct {
	Currency string `json:"currency"`
	// Budget is what may be spent on a day, Spent what was today.
	Budget string `json:"budget_per_day"`
	Spent  string `json:"spent_today"`
	// Percent is how much of the budget that is, Alerts which of 50, 80 and 100 percent it has reached.
	Percent int64   `json:"percent"`
	Alerts  []int64 `json:"alerts"`
	// PausedTS is since when invitations by short message are paused, missing while they are not.
	PausedTS matrix.Timestamp `json:"paused_ts,omitempty"`
	Days     []spendingDay    `json:"days"`
}

type spendingDay struct {
	Day      string `json:"day"`
	Medium   string `json:"medium"`
	Messages int64  `json:"messages"`
	Cost     string `json:"cost"`
}

func (s *Server) getSpending(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.rulesFor(ctx, s.cfg.Store, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	days, err := s.cfg.Store.ListSpending(ctx, c.Requester.Org, limits.SpendingDays)
	if err != nil {
		return nil, fmt.Errorf("list what was spent: %w", err)
	}
	pause, err := s.cfg.Store.GetOutboxPause(ctx, c.Requester.Org)
	if err != nil {
		return nil, fmt.Errorf("look up a pause: %w", err)
	}
	answer := spendingResponse{
		Currency: s.cfg.Limits.Currency, Budget: FormatMoney(r.budget), PausedTS: pause.PausedTS, Days: make([]spendingDay, len(days)), Alerts: []int64{},
	}
	today, spent := s.cfg.Clock.Now().UTC().Format("2006-01-02"), int64(0)
	for i, d := range days {
		answer.Days[i] = spendingDay{d.Day, d.Medium, d.Messages, FormatMoney(d.Cost)}
		if d.Day == today {
			spent += d.Cost
		}
	}
	answer.Spent = FormatMoney(spent)
	if r.budget > 0 {
		answer.Percent = spent * 100 / r.budget
	}
	for _, percent := range alertAt {
		if r.budget > 0 && spent >= r.budget*percent/100 {
			answer.Alerts = append(answer.Alerts, percent)
		}
	}
	return answer, nil
}

func (s *Server) resume(ctx context.Context, c *httpapi.Call) (any, error) {
	now := s.now()
	return nil, s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		resumed, err := tx.ResumeOutbox(ctx, c.Requester.Org, now)
		if err != nil || !resumed {
			return err
		}
		return tx.AppendAudit(ctx, store.AuditEntry{
			OrganisationID: c.Requester.Org, TS: now, Actor: c.Requester.Actor(), IP: c.ClientAddr(), Action: "messages.resume", Target: outbox.Msisdn,
		})
	})
}

func (s *Server) deleteRefusal(ctx context.Context, c *httpapi.Call) (any, error) {
	removed, err := s.cfg.Store.DeleteRefusal(ctx, s.refusalHash(c.Path("medium"), c.Path("address")))
	if err != nil {
		return nil, fmt.Errorf("remove a refusal: %w", err)
	}
	if !removed {
		return nil, matrix.NotFound("this address has not refused messages")
	}
	return nil, s.cfg.Store.AppendAudit(ctx, store.AuditEntry{
		OrganisationID: c.Requester.Org, TS: s.now(), Actor: c.Requester.Actor(), IP: c.ClientAddr(), Action: "messages.refusal.remove", Target: mask(c.Path("address")),
	})
}
