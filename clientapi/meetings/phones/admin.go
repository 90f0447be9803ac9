package phones

import (
	"context"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/phone"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// What administrators see and do: the log of calls, what was spent, the numbers, and hanging up.

func (s *Server) adminRoutes() []httpapi.Route {
	const own = "/_roomline/admin/v1/phones"
	var routes []httpapi.Route
	add := func(method, path, limit, who string, may func(*httpapi.Requester) bool, handle httpapi.Handler, doc httpapi.Doc) {
		doc.Who = who
		routes = append(routes, httpapi.Route{
			Method: method, Path: path, Auth: httpapi.AccessToken, Limit: limit, Doc: &doc,
			Handle: httpapi.ForThose(may, handle),
		})
	}
	add(http.MethodGet, own+"/calls", ratelimit.Read, "owner, auditor", (*httpapi.Requester).Audits, s.listCalls, httpapi.Doc{
		Summary: "The calls of phones into the organisation's meetings, and those that its members had made, the newest first.", Response: callsResponse{},
		Query: []httpapi.Parameter{
			{Name: "from", Type: "integer", Summary: "Only calls from before: next_from of the answer before."},
			{Name: "limit", Type: "integer", Summary: "At most so many, up to 500."},
			{Name: "direction", Type: "string", Summary: "in or out."},
			{Name: "state", Type: "string", Summary: "queued, dialling, ringing, waiting, answered, ended or failed."},
			{Name: "requested_by", Type: "string", Summary: "Those that a user had made, or made with an own PIN."},
		}})
	add(http.MethodDelete, own+"/calls/{callId}", ratelimit.Account, "owner", func(r *httpapi.Requester) bool { return r.Admin }, s.endCall, httpapi.Doc{
		Summary: "Hang a call up."})
	add(http.MethodGet, own+"/numbers", ratelimit.Read, "owner, people, auditor", func(r *httpapi.Requester) bool { return r.Audits() || r.ManagesPeople() }, s.listNumbers,
		httpapi.Doc{Summary: "The numbers by which the organisation's meetings are reached.", Response: numbersResponse{}})
	add(http.MethodGet, own+"/spending", ratelimit.Read, "owner, auditor", (*httpapi.Requester).Audits, s.getSpending, httpapi.Doc{
		Summary: "What was spent on calls, with what is set aside for those that are on, and the budget.", Response: spendingResponse{}})
	return routes
}

type callsResponse struct {
	Calls []callItem `json:"calls"`
	// NextFrom is from of the next request, missing when there are no more.
	NextFrom matrix.Timestamp `json:"next_from,omitempty"`
}

// callItem is a call as administrators see it.
type callItem struct {
	CallID       string           `json:"call_id"`
	RoomID       matrix.RoomID    `json:"room_id"`
	Direction    string           `json:"direction"`
	Trunk        string           `json:"trunk"`
	Number       string           `json:"number,omitempty"`
	Name         string           `json:"name"`
	UserID       matrix.UserID    `json:"user_id"`
	RequestedBy  matrix.UserID    `json:"requested_by,omitempty"`
	InvitationID string           `json:"invitation_id,omitempty"`
	State        string           `json:"state"`
	Cause        string           `json:"cause,omitempty"`
	Cost         string           `json:"cost"`
	CreatedTS    matrix.Timestamp `json:"created_ts"`
	AnsweredTS   matrix.Timestamp `json:"answered_ts,omitempty"`
	EndedTS      matrix.Timestamp `json:"ended_ts,omitempty"`
}

func (s *Server) listCalls(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, limits.PhoneCallsPage)
	if err != nil {
		return nil, err
	}
	before, err := c.QueryInt("from", 0, 0, 1<<53)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListPhoneCalls(ctx, store.PhoneCallFilter{
		OrganisationID: c.Requester.Org, Before: matrix.Timestamp(before), Direction: c.Query("direction"), State: c.Query("state"), RequestedBy: c.Query("requested_by"),
	}, limit)
	if err != nil {
		return nil, fmt.Errorf("list calls: %w", err)
	}
	answer := callsResponse{Calls: make([]callItem, len(list))}
	for i := range list {
		p := &list[i]
		answer.Calls[i] = callItem{
			p.ID, p.RoomID, p.Direction, p.Trunk, p.Number, p.Name, p.UserID, p.RequestedBy, p.InvitationID, p.State, p.Cause, outbox.FormatMoney(p.Cost),
			p.CreatedTS, p.AnsweredTS, p.EndedTS,
		}
	}
	if len(list) == limit {
		answer.NextFrom = list[limit-1].CreatedTS
	}
	return answer, nil
}

func (s *Server) endCall(ctx context.Context, c *httpapi.Call) (any, error) {
	call, err := s.cfg.Store.GetPhoneCall(ctx, c.Path("callId"))
	if err != nil || call.OrganisationID != c.Requester.Org {
		return nil, noCall()
	}
	if err := s.order(ctx, &call, phone.CauseCancelled); err != nil {
		return nil, err
	}
	return nil, s.cfg.Store.AppendAudit(ctx, store.AuditEntry{
		OrganisationID: c.Requester.Org, TS: s.now(), Actor: c.Requester.Actor(), IP: c.ClientAddr(), Action: "phones.hangup", Target: call.ID,
	})
}

type numbersResponse struct {
	Numbers []numberItem `json:"numbers"`
}

func (s *Server) listNumbers(ctx context.Context, c *httpapi.Call) (any, error) {
	numbers, err := s.numbersOf(ctx, s.cfg.Store, c.Requester.Org)
	answer := numbersResponse{Numbers: make([]numberItem, len(numbers))}
	for i, n := range numbers {
		answer.Numbers[i] = numberItem{n.Country, n.Number, language(n.Language)}
	}
	return answer, err
}

type spendingResponse struct {
	Currency string `json:"currency"`
	// Budget is what may be spent on a day, Spent what was today, with what is set aside for calls that are on.
	Budget string `json:"budget_per_day"`
	Spent  string `json:"spent_today"`
	// Minutes are those of today, MinutesPerDay how many there may be.
	Minutes       int64         `json:"minutes_today"`
	MinutesPerDay int           `json:"minutes_per_day"`
	Percent       int64         `json:"percent"`
	Days          []spendingDay `json:"days"`
}

type spendingDay struct {
	Day     string `json:"day"`
	Seconds int64  `json:"seconds"`
	Cost    string `json:"cost"`
}

func (s *Server) getSpending(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.rulesFor(ctx, s.cfg.Store, c.Requester.Org)
	if err != nil {
		return nil, err
	}
	days, err := s.cfg.Store.ListPhoneSpending(ctx, c.Requester.Org, limits.PhoneSpendingDays)
	if err != nil {
		return nil, fmt.Errorf("list what was spent: %w", err)
	}
	answer := spendingResponse{
		Currency: s.cfg.Limits.Currency, Budget: outbox.FormatMoney(r.budget), MinutesPerDay: r.secondsPerDay / 60, Days: make([]spendingDay, len(days)),
		Spent: outbox.FormatMoney(0),
	}
	today := s.cfg.Clock.Now().UTC().Format("2006-01-02")
	for i, d := range days {
		answer.Days[i] = spendingDay{d.Day, d.Seconds, outbox.FormatMoney(d.Cost)}
		if d.Day != today {
			continue
		}
		answer.Spent, answer.Minutes = outbox.FormatMoney(d.Cost), minutes(d.Seconds)
		if r.budget > 0 {
			answer.Percent = d.Cost * 100 / r.budget
		}
	}
	return answer, nil
}
