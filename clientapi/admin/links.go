package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// linkEndpoints are those about links with other organisations.
//
// A proposal is answered the same whether anybody here has the domain: who else is a customer is told to nobody who was not told by them.
func (s *Server) linkEndpoints() []endpoint {
	const all, one = own + "/links", own + "/links/{linkId}"
	return []endpoint{
		{method: get, path: all, may: administrators, handle: s.listLinks, doc: httpapi.Doc{
			Summary: "The links of the own organisation with others and what is proposed, newest first.", Response: linksResponse{}, Query: []httpapi.Parameter{
				{Name: "from", Type: "string", Summary: "next_batch of an earlier answer"}, {Name: "limit", Type: "integer", Summary: "at most 1000"}}}},
		{method: post, path: all, may: owners, limit: ratelimit.Account, handle: httpapi.JSON(s.proposeLink), doc: httpapi.Doc{
			Summary: "Propose a link to the organisation that has a domain, here or on another homeserver.", Request: NewLink{}, Response: Link{}}},
		{method: get, path: one, may: administrators, handle: s.getLink, doc: httpapi.Doc{
			Summary: "A link, or a proposal.", Response: Link{}}},
		{method: post, path: one + "/accept", may: owners, handle: httpapi.JSON(s.acceptLink), doc: httpapi.Doc{
			Summary: "Accept a proposal of another organisation.", Request: Giving{}, Response: Link{}}},
		{method: post, path: one + "/refuse", may: owners, handle: s.refuseLink, doc: httpapi.Doc{
			Summary: "Refuse a proposal of another organisation.", Response: Link{}}},
		{method: post, path: one + "/revoke", may: owners, handle: s.revokeLink, doc: httpapi.Doc{
			Summary: "End a link, or take back a proposal. It holds at once.", Response: Link{}}},
		{method: put, path: one + "/gives", may: owners, handle: httpapi.JSON(s.putLinkGives), doc: httpapi.Doc{
			Summary: "Change what the own organisation gives. It holds at once.", Request: Giving{}, Response: Link{}}},
	}
}

// Link is a link with another organisation, as one of the two sees it.
type Link struct {
	ID    int64           `json:"link_id"`
	State store.LinkState `json:"state"`
	// Domain is the one that the proposer named; Proposed says whether it was the own organisation that proposed.
	Domain   matrix.ServerName `json:"domain"`
	Proposed bool              `json:"proposed_by_us"`
	// Organisation is the other one. It is not there before it has accepted.
	Organisation *LinkedOrganisation `json:"organisation,omitempty"`
	Message      string              `json:"message,omitempty"`
	// Gives is what the own organisation gives, or offers; Receives what the other does.
	Gives      *store.Sharing   `json:"gives,omitempty"`
	Receives   *store.Sharing   `json:"receives,omitempty"`
	ProposedTS matrix.Timestamp `json:"proposed_ts"`
	SinceTS    matrix.Timestamp `json:"since_ts"`
	// Note says when a proposal holds.
	Note string `json:"note,omitempty"`
}

// LinkedOrganisation is what is told of another organisation.
type LinkedOrganisation struct {
	Name    string              `json:"name"`
	Domains []matrix.ServerName `json:"domains"`
}

// proposalNote is said of every proposal, so that it says nothing about the domain.
const proposalNote = "The link holds when an administrator of this domain's organisation accepts it. " +
	"If the domain is on another homeserver, that can be as soon as the two servers speak to each other."

// describeLink says what a link is to one of its two organisations.
func (s *Server) describeLink(ctx context.Context, org int64, l store.Link) (*Link, error) {
	d := &Link{ID: l.ID, State: l.State, Domain: l.Domain, Proposed: l.OrganisationID == org, Message: l.Message, ProposedTS: l.ProposedTS, SinceTS: l.SinceTS}
	switch {
	case l.State == store.LinkActive && d.Proposed:
		d.Gives, d.Receives = &l.Gives, &l.OtherGives
	case l.State == store.LinkActive:
		d.Gives, d.Receives = &l.OtherGives, &l.Gives
	case l.State == store.LinkProposed && d.Proposed:
		d.Gives, d.Note = &l.Offer, proposalNote
	case l.State == store.LinkProposed:
		d.Receives = &l.Offer
	}
	other := l.Other(org)
	if other == 0 || d.Proposed && l.State != store.LinkActive && l.State != store.LinkRevoked {
		return d, nil
	}
	o, err := s.cfg.Store.GetOrganisation(ctx, other)
	if err != nil {
		return nil, fmt.Errorf("load a linked organisation: %w", err)
	}
	domains, err := s.cfg.Store.ListOrganisationDomains(ctx, other)
	if err != nil {
		return nil, fmt.Errorf("list the domains of a linked organisation: %w", err)
	}
	d.Organisation = &LinkedOrganisation{Name: o.Name, Domains: []matrix.ServerName{}}
	for _, domain := range domains {
		d.Organisation.Domains = append(d.Organisation.Domains, domain.ServerName)
	}
	return d, nil
}

func noSuchLink() *matrix.Error { return matrix.NotFound("there is no such link") }

// linkID is the number in the path.
func linkID(c *httpapi.Call) (int64, error) {
	id, err := strconv.ParseInt(c.Path("linkId"), 10, 64)
	if err != nil || id < 1 {
		return 0, noSuchLink()
	}
	return id, nil
}

type linksResponse struct {
	Links []Link `json:"links"`
	// NextBatch is there if there are more: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

func (s *Server) listLinks(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, limits.PageMax)
	if err != nil {
		return nil, err
	}
	before, err := c.QueryInt("from", 0, 0, limits.MaxInteger)
	if err != nil {
		return nil, err
	}
	list, err := s.Links(ctx, c.Requester.Org, int64(before), limit)
	if err != nil {
		return nil, err
	}
	answer := linksResponse{Links: list}
	if len(list) == limit {
		answer.NextBatch = strconv.FormatInt(list[limit-1].ID, 10)
	}
	return answer, nil
}

// Links are the links of an organisation, newest first, from the one before the number on (0: from the newest), at most limit.
func (s *Server) Links(ctx context.Context, org, before int64, limit int) ([]Link, error) {
	list, err := s.cfg.Store.ListLinks(ctx, org, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := []Link{}
	for _, l := range list {
		d, err := s.describeLink(ctx, org, l)
		if err != nil {
			return nil, err
		}
		links = append(links, *d)
	}
	return links, nil
}

func (s *Server) getLink(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := linkID(c)
	if err != nil {
		return nil, err
	}
	return s.link(ctx, c.Requester.Org, id)
}

func (s *Server) link(ctx context.Context, org, id int64) (*Link, error) {
	l, err := s.cfg.Store.GetLink(ctx, org, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchLink()
	}
	if err != nil {
		return nil, fmt.Errorf("load a link: %w", err)
	}
	return s.describeLink(ctx, org, l)
}

// NewLink is a link that is proposed.
type NewLink struct {
	Domain  string         `json:"domain"`
	Gives   *store.Sharing `json:"gives"`
	Message string         `json:"message,omitempty"`
}

// Giving is what an organisation gives to a linked one.
type Giving struct {
	Gives *store.Sharing `json:"gives"`
}

func (s *Server) proposeLink(ctx context.Context, c *httpapi.Call, req *NewLink) (any, error) {
	return s.ProposeLink(ctx, whoOf(c), c.Requester.Org, *req)
}

// ProposeLink proposes a link to the organisation that has a domain.
func (s *Server) ProposeLink(ctx context.Context, who Who, org int64, n NewLink) (*Link, error) {
	domain, err := matrix.ParseServerName(n.Domain)
	if err != nil {
		return nil, matrix.InvalidParam("domain must be a server name")
	}
	if n.Gives == nil {
		return nil, matrix.MissingParam("gives is missing")
	}
	if len(n.Message) > limits.LinkMessage {
		return nil, matrix.InvalidParam("message must have at most %d bytes", limits.LinkMessage)
	}
	hosted, err := s.cfg.Store.ListOrganisationDomains(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("list the own domains: %w", err)
	}
	if slices.ContainsFunc(hosted, func(d store.HostedDomain) bool { return d.ServerName == domain }) {
		return nil, matrix.InvalidParam("domain is one of your own organisation")
	}
	l := store.Link{OrganisationID: org, Domain: domain, Offer: *n.Gives, Message: n.Message, ProposedTS: s.now()}
	err = s.changeLink(ctx, who, func(tx *store.Tx) ([]linkAct, error) {
		open, err := tx.CountOpenLinks(ctx, org)
		if err != nil {
			return nil, err
		}
		if open >= limits.LinksPerOrganisation {
			return nil, matrix.NewError(http.StatusForbidden, matrix.ErrResourceLimitExceeded, "an organisation may have %d links", limits.LinksPerOrganisation)
		}
		if l.ID, err = tx.InsertLink(ctx, l); err != nil {
			return nil, err
		}
		if l.ID == 0 {
			return nil, matrix.InvalidParam("domain: there is a link with it, or a proposal, already")
		}
		return []linkAct{ownAct(org, "link.propose", l, domain, n.Gives)}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("propose a link: %w", err)
	}
	return s.link(ctx, org, l.ID)
}

func (s *Server) acceptLink(ctx context.Context, c *httpapi.Call, req *Giving) (any, error) {
	id, err := linkID(c)
	if err != nil {
		return nil, err
	}
	return s.AcceptLink(ctx, whoOf(c), c.Requester.Org, id, req.Gives)
}

// AcceptLink makes a link hold that another organisation has proposed.
func (s *Server) AcceptLink(ctx context.Context, who Who, org, id int64, gives *store.Sharing) (*Link, error) {
	if gives == nil {
		return nil, matrix.MissingParam("gives is missing")
	}
	return s.changeOneLink(ctx, who, org, id, "accept a link", func(tx *store.Tx, l store.Link) ([]linkAct, error) {
		if l.State != store.LinkProposed || l.OrganisationID == org {
			return nil, matrix.InvalidParam("the link is not a proposal of another organisation")
		}
		activated, err := tx.ActivateLink(ctx, l, org, *gives, s.now())
		if err != nil {
			return nil, err
		}
		if !activated {
			return nil, matrix.InvalidParam("the two organisations are linked already")
		}
		l.OtherID = org
		return s.bothActs(ctx, org, "link.accept", l, gives)
	})
}

func (s *Server) refuseLink(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := linkID(c)
	if err != nil {
		return nil, err
	}
	return s.RefuseLink(ctx, whoOf(c), c.Requester.Org, id)
}

// RefuseLink turns down what another organisation has proposed.
func (s *Server) RefuseLink(ctx context.Context, who Who, org, id int64) (*Link, error) {
	return s.changeOneLink(ctx, who, org, id, "refuse a link", func(tx *store.Tx, l store.Link) ([]linkAct, error) {
		if l.State != store.LinkProposed || l.OrganisationID == org {
			return nil, matrix.InvalidParam("the link is not a proposal of another organisation")
		}
		if err := tx.EndLink(ctx, l.ID, org, store.LinkRefused, s.now()); err != nil {
			return nil, err
		}
		return s.bothActs(ctx, org, "link.refuse", l, nil)
	})
}

func (s *Server) revokeLink(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := linkID(c)
	if err != nil {
		return nil, err
	}
	return s.RevokeLink(ctx, whoOf(c), c.Requester.Org, id)
}

// RevokeLink ends a link, or takes a proposal back.
func (s *Server) RevokeLink(ctx context.Context, who Who, org, id int64) (*Link, error) {
	return s.changeOneLink(ctx, who, org, id, "revoke a link", func(tx *store.Tx, l store.Link) ([]linkAct, error) {
		switch {
		case l.State == store.LinkActive:
			if err := tx.EndLink(ctx, l.ID, org, store.LinkRevoked, s.now()); err != nil {
				return nil, err
			}
			// Those of the two who are in calls are looked at again.
			if _, err := tx.InsertRTCChecks(ctx, store.RTCWhom{Organisations: []int64{org, l.Other(org)}}, s.now()); err != nil {
				return nil, err
			}
			return s.bothActs(ctx, org, "link.revoke", l, nil)
		case l.State == store.LinkProposed && l.OrganisationID == org:
			return []linkAct{ownAct(org, "link.withdraw", l, l.Domain, nil)}, tx.EndLink(ctx, l.ID, org, store.LinkWithdrawn, s.now())
		}
		return nil, matrix.InvalidParam("the link does not hold, and is no proposal of the own organisation")
	})
}

func (s *Server) putLinkGives(ctx context.Context, c *httpapi.Call, req *Giving) (any, error) {
	id, err := linkID(c)
	if err != nil {
		return nil, err
	}
	return s.PutLinkGives(ctx, whoOf(c), c.Requester.Org, id, req.Gives)
}

// PutLinkGives changes what an organisation gives to a linked one, or has offered to.
func (s *Server) PutLinkGives(ctx context.Context, who Who, org, id int64, gives *store.Sharing) (*Link, error) {
	if gives == nil {
		return nil, matrix.MissingParam("gives is missing")
	}
	return s.changeOneLink(ctx, who, org, id, "change a link", func(tx *store.Tx, l store.Link) ([]linkAct, error) {
		switch {
		case l.State == store.LinkActive:
			if err := tx.PutSharing(ctx, l.ID, org, l.Other(org), *gives); err != nil {
				return nil, err
			}
			return s.bothActs(ctx, org, "link.gives", l, gives)
		case l.State == store.LinkProposed && l.OrganisationID == org:
			return []linkAct{ownAct(org, "link.gives", l, l.Domain, gives)}, tx.PutOffer(ctx, l.ID, *gives)
		}
		return nil, matrix.InvalidParam("the link does not hold, and is no proposal of the own organisation")
	})
}

// changeOneLink is changeLink for a link of the organisation, which it returns as it became.
func (s *Server) changeOneLink(ctx context.Context, who Who, org, id int64, what string, f func(*store.Tx, store.Link) ([]linkAct, error)) (*Link, error) {
	err := s.changeLink(ctx, who, func(tx *store.Tx) ([]linkAct, error) {
		l, err := tx.LockLink(ctx, org, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, noSuchLink()
		}
		if err != nil {
			return nil, err
		}
		return f(tx, l)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return s.link(ctx, org, id)
}

// linkAct is an act in the log of one of the two sides. by is empty for the side that acts; the other side learns which organisation it was, and not
// who.
type linkAct struct {
	act
	by matrix.ServerName
}

// ownAct is what the log of the organisation itself says.
func ownAct(org int64, action string, l store.Link, other matrix.ServerName, gives *store.Sharing) linkAct {
	detail := map[string]any{"link_id": l.ID}
	if gives != nil {
		detail["gives"] = gives
	}
	return linkAct{act: act{organisation: org, action: action, target: string(other), detail: detail}}
}

// bothActs are what the logs of both sides say.
func (s *Server) bothActs(ctx context.Context, org int64, action string, l store.Link, gives *store.Sharing) ([]linkAct, error) {
	// The proposer knows the other side by the domain that it named.
	domainOf := func(side int64) (matrix.ServerName, error) {
		if side != l.OrganisationID {
			return l.Domain, nil
		}
		return s.cfg.Store.GetOrganisationDomain(ctx, side)
	}
	mine, err := domainOf(org)
	if err != nil {
		return nil, fmt.Errorf("find the own domain: %w", err)
	}
	theirs, err := domainOf(l.Other(org))
	if err != nil {
		return nil, fmt.Errorf("find the other domain: %w", err)
	}
	other := ownAct(l.Other(org), action, l, mine, gives)
	other.by = mine
	return []linkAct{ownAct(org, action, l, theirs, gives), other}, nil
}

// changeLink runs f in a transaction that also appends to the audit logs of the sides. Why it tells no process: whoever looks at people reads what
// is given anew.
func (s *Server) changeLink(ctx context.Context, who Who, f func(tx *store.Tx) ([]linkAct, error)) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		acts, err := f(tx)
		if err != nil {
			return err
		}
		var entries []store.AuditEntry
		for _, a := range acts {
			by := who
			if a.by != "" {
				by = Who{Actor: "organisation:" + string(a.by)}
			}
			of, err := s.entries(by, a.act)
			if err != nil {
				return err
			}
			entries = append(entries, of...)
		}
		return tx.AppendAudit(ctx, entries...)
	})
}
