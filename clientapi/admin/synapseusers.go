package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type synapseUser struct {
	Name         matrix.UserID    `json:"name"`
	UserType     *string          `json:"user_type"`
	IsGuest      bool             `json:"is_guest"`
	Admin        bool             `json:"admin"`
	Deactivated  bool             `json:"deactivated"`
	ShadowBanned bool             `json:"shadow_banned"`
	DisplayName  *string          `json:"displayname"`
	AvatarURL    *string          `json:"avatar_url"`
	CreationTS   matrix.Timestamp `json:"creation_ts"`
	LastSeenTS   *int64           `json:"last_seen_ts"`
	Erased       bool             `json:"erased"`
	Locked       bool             `json:"locked"`
	Approved     bool             `json:"approved"`
}

func synapseUserOf(a *store.Account) synapseUser {
	u := synapseUser{
		Name: a.UserID, IsGuest: a.Guest, Admin: a.Role == string(httpapi.RoleOwner), Deactivated: a.Deactivated(), DisplayName: orNull(a.DisplayName),
		AvatarURL: orNull(a.AvatarURL), CreationTS: a.CreatedTS, Erased: a.Erased, Locked: a.Locked, Approved: true,
	}
	if a.Machine {
		u.UserType = orNull("bot")
	}
	if a.LastSeenTS > 0 {
		ts := int64(a.LastSeenTS)
		u.LastSeenTS = &ts
	}
	return u
}

// synapseQuery is which accounts a list is to have.
func synapseQuery(c *httpapi.Call) (q store.AccountQuery, err error) {
	q = store.AccountQuery{OrganisationID: scope(c), Search: c.Query("name"), OrderBy: c.Query("order_by"), NoGuests: c.Query("guests") == "false"}
	if q.Search == "" {
		q.UserID = c.Query("user_id")
	}
	if _, ok := store.AccountOrders[q.OrderBy]; !ok {
		return q, matrix.InvalidParam("order_by is not a field that lists are ordered by")
	}
	switch c.Query("dir") {
	case "", "f":
	case "b":
		q.Descending = true
	default:
		return q, matrix.InvalidParam("dir must be f or b")
	}
	if q.Owners, err = flag(c, "admins"); err != nil {
		return q, err
	}
	if q.Deactivated, err = flag(c, "deactivated"); err != nil {
		return q, err
	}
	locked, err := flag(c, "locked")
	no := false
	if locked == nil || !*locked {
		q.Locked = &no
	}
	if c.Request.URL.Path == synapse2+"/users" {
		// In the older form the flag says whether closed accounts are there as well.
		if q.Deactivated != nil && *q.Deactivated {
			q.Deactivated = nil
		} else {
			q.Deactivated = &no
		}
	}
	return q, err
}

func (s *Server) synapseListUsers(ctx context.Context, c *httpapi.Call) (any, error) {
	q, err := synapseQuery(c)
	if err != nil {
		return nil, err
	}
	from, limit, err := pageOf(c)
	if err != nil {
		return nil, err
	}
	list, total, err := s.cfg.Store.ListAccounts(ctx, q, from, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	answer := map[string]any{"total": total}
	found := []synapseUser{}
	for i := range list {
		found = append(found, synapseUserOf(&list[i]))
	}
	answer["users"] = found
	if int64(from+len(list)) < total {
		answer["next_token"] = strconv.Itoa(from + len(list))
	}
	return answer, nil
}

type synapseThreePID struct {
	Medium      string           `json:"medium"`
	Address     string           `json:"address"`
	AddedAt     matrix.Timestamp `json:"added_at"`
	ValidatedAt matrix.Timestamp `json:"validated_at"`
}

type synapseExternalID struct {
	Provider   string `json:"auth_provider"`
	ExternalID string `json:"external_id"`
}

// synapseDetails is an account as it is told alone.
type synapseDetails struct {
	synapseUser
	ThreePIDs               []synapseThreePID   `json:"threepids"`
	ExternalIDs             []synapseExternalID `json:"external_ids"`
	AppserviceID            *string             `json:"appservice_id"`
	ConsentServerNoticeSent *string             `json:"consent_server_notice_sent"`
	ConsentVersion          *string             `json:"consent_version"`
	ConsentTS               *int64              `json:"consent_ts"`
	Suspended               bool                `json:"suspended"`
}

func (s *Server) synapseDetailsOf(ctx context.Context, a *store.Account) (any, error) {
	d := synapseDetails{synapseUser: synapseUserOf(a), ThreePIDs: []synapseThreePID{}, ExternalIDs: []synapseExternalID{}, Suspended: a.Suspended}
	addresses, err := s.cfg.Store.ListThreePIDs(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", a.UserID, err)
	}
	for _, t := range addresses {
		d.ThreePIDs = append(d.ThreePIDs, synapseThreePID{t.Medium, t.Address, t.AddedTS, t.ValidatedTS})
	}
	subjects, err := s.cfg.Store.ListSubjects(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list subjects of %s: %w", a.UserID, err)
	}
	for _, x := range subjects {
		d.ExternalIDs = append(d.ExternalIDs, synapseExternalID{x.Provider, x.Subject})
	}
	return d, nil
}

func (s *Server) synapseGetUser(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.synapseDetailsOf(ctx, &a)
}

type synapseUserRequest struct {
	Password      *string              `json:"password"`
	LogoutDevices *bool                `json:"logout_devices"`
	DisplayName   *string              `json:"displayname"`
	AvatarURL     *string              `json:"avatar_url"`
	ThreePIDs     *[]synapseThreePID   `json:"threepids"`
	ExternalIDs   *[]synapseExternalID `json:"external_ids"`
	Admin         *bool                `json:"admin"`
	Deactivated   *bool                `json:"deactivated"`
	Locked        *bool                `json:"locked"`
}

// change is what the request wants of the account itself.
func (r *synapseUserRequest) change(c *httpapi.Call) (accounts.Change, error) {
	a := accounts.ActorOf(c)
	ch := accounts.Change{DisplayName: r.DisplayName, Avatar: r.AvatarURL, Locked: r.Locked, Password: r.Password, KeepDevices: r.LogoutDevices != nil && !*r.LogoutDevices}
	if r.AvatarURL != nil && *r.AvatarURL != "" {
		if _, err := matrix.ParseContentURI(*r.AvatarURL); err != nil {
			return ch, matrix.InvalidParam("avatar_url must be an mxc:// URI")
		}
	}
	if r.ThreePIDs != nil {
		ch.Emails, ch.Phones = []string{}, []string{}
		for _, t := range *r.ThreePIDs {
			switch t.Medium {
			case "email":
				ch.Emails = append(ch.Emails, t.Address)
			case "msisdn":
				ch.Phones = append(ch.Phones, "+"+t.Address)
			default:
				return ch, matrix.InvalidParam("threepids: medium must be email or msisdn")
			}
		}
	}
	if r.ExternalIDs != nil {
		// Identity providers serve the whole deployment: whoever says who is who there could take somebody of another organisation's place.
		if !c.Requester.Operator() {
			return ch, matrix.Forbidden("external_ids: only the operator says who somebody is for an identity provider")
		}
		ch.Subjects = []store.Subject{}
		for _, x := range *r.ExternalIDs {
			if x.Provider == "" || x.ExternalID == "" {
				return ch, matrix.MissingParam("external_ids: auth_provider and external_id are needed")
			}
			ch.Subjects = append(ch.Subjects, store.Subject{Provider: x.Provider, Subject: x.ExternalID})
		}
	}
	if r.Admin != nil && !a.Owner {
		return ch, matrix.Forbidden("only owners make owners")
	}
	return ch, nil
}

func (s *Server) synapsePutUser(ctx context.Context, c *httpapi.Call, req *synapseUserRequest) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	ch, err := req.change(c)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	a, by, err := s.target(ctx, c)
	switch e, ok := matrix.AsError(err); {
	case ok && e.Code == matrix.ErrNotFound:
		if a, by, err = s.synapseCreate(ctx, c, id, req, ch); err != nil {
			return nil, err
		}
		status = http.StatusCreated
	case err != nil:
		return nil, err
	case a.Deactivated():
		if req.Deactivated == nil || !*req.Deactivated {
			return nil, matrix.InvalidParam("deactivated: an account that was closed stays closed")
		}
	default:
		if err := s.cfg.People.Update(ctx, by, id, ch, nil); err != nil {
			return nil, found(err)
		}
	}
	if err := s.synapseRoleAndEnd(ctx, c, &a, by, req); err != nil {
		return nil, err
	}
	if a, err = s.account(ctx, scope(c), id); err != nil {
		return nil, err
	}
	body, err := s.synapseDetailsOf(ctx, &a)
	return httpapi.Status{Code: status, Body: body}, err
}

// synapseRoleAndEnd gives or takes a role, and closes the account, as the request wants.
func (s *Server) synapseRoleAndEnd(ctx context.Context, c *httpapi.Call, a *store.Account, by accounts.Actor, req *synapseUserRequest) error {
	if req.Admin != nil && !a.Deactivated() {
		if err := s.setOwner(ctx, c, a, *req.Admin); err != nil {
			return err
		}
	}
	if req.Deactivated != nil && *req.Deactivated && !a.Deactivated() {
		return found(s.cfg.People.Close(ctx, by, a.UserID))
	}
	return nil
}

func (s *Server) synapseCreate(
	ctx context.Context, c *httpapi.Call, id matrix.UserID, req *synapseUserRequest, ch accounts.Change,
) (store.Account, accounts.Actor, error) {
	by := accounts.ActorOf(c)
	domain, err := s.cfg.Store.GetHostedDomain(ctx, id.Domain())
	if errors.Is(err, store.ErrNotFound) || err == nil && scope(c) != 0 && domain.OrganisationID != c.Requester.Org {
		return store.Account{}, by, matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "This endpoint can only be used with local users")
	}
	if err != nil {
		return store.Account{}, by, fmt.Errorf("look up the domain %s: %w", id.Domain(), err)
	}
	by.Org = domain.OrganisationID
	n := auth.NewAccount{Localpart: id.Localpart(), Domain: id.Domain()}
	if ch.Password != nil {
		n.Password, ch.Password = *ch.Password, nil
	}
	if _, err := s.cfg.People.Create(ctx, by, n, ch); err != nil {
		return store.Account{}, by, err
	}
	a, err := s.account(ctx, by.Org, id)
	return a, by, err
}

func (s *Server) synapseAvailable(ctx context.Context, c *httpapi.Call) (any, error) {
	name := c.Query("username")
	if name == "" {
		return nil, matrix.MissingParam("username is missing")
	}
	domain, err := s.cfg.Store.GetOrganisationDomain(ctx, c.Requester.Org)
	if err != nil {
		return nil, fmt.Errorf("look up the organisation's domain: %w", err)
	}
	if _, err := s.cfg.Accounts.CheckAvailable(ctx, name, domain); err != nil {
		return nil, err
	}
	return map[string]bool{"available": true}, nil
}

func (s *Server) foundUser(ctx context.Context, c *httpapi.Call, id matrix.UserID, err error) (any, error) {
	if err == nil {
		_, err = s.cfg.Store.GetAccount(ctx, scope(c), id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("User not found")
	}
	return map[string]matrix.UserID{"user_id": id}, err
}

func (s *Server) synapseFindThreePID(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := s.cfg.Store.GetThreePIDOwner(ctx, c.Requester.Org, c.Path("medium"), c.Path("address"))
	return s.foundUser(ctx, c, id, err)
}

func (s *Server) synapseFindSubject(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := s.cfg.Store.GetSSOSubject(ctx, c.Path("provider"), c.Path("externalId"))
	return s.foundUser(ctx, c, id, err)
}
