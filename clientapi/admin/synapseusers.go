package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// What existing tools ask for, in the shapes that they know. An owner sees and changes what is the organisation's, the operator what is anybody's.
//
// Differs: an account that was closed stays closed; nobody signs in as somebody else; shadow bans and rate limits of single users do not exist.

const (
	synapse1 = "/_synapse/admin/v1"
	synapse2 = "/_synapse/admin/v2"
)

// synapseUserEndpoints are those about accounts.
func (s *Server) synapseUserEndpoints() []endpoint {
	const one, two = synapse1 + "/users/{userId}", synapse2 + "/users/{userId}"
	table := []struct {
		method, path string
		may          access
		handle       httpapi.Handler
		summary      string
	}{
		{get, synapse1 + "/server_version", administrators, s.synapseVersion, "The server's version."},
		{get, synapse2 + "/users", peopleReaders, s.synapseListUsers, "List accounts."},
		{get, "/_synapse/admin/v3/users", peopleReaders, s.synapseListUsers, "List accounts."},
		{get, two, peopleReaders, s.synapseGetUser, "An account."},
		{put, two, peopleManagers, httpapi.JSON(s.synapsePutUser), "Make or change an account."},
		{post, synapse1 + "/deactivate/{userId}", peopleManagers, httpapi.OptionalJSON(s.synapseDeactivate), "Close an account."},
		{put, synapse1 + "/suspend/{userId}", peopleManagers, httpapi.JSON(s.synapseSuspend), "Suspend an account."},
		{post, synapse1 + "/reset_password/{userId}", peopleManagers, httpapi.JSON(s.synapseResetPassword), "Give an account another password."},
		{get, one + "/admin", peopleReaders, s.synapseIsAdmin, "Whether somebody is an owner."},
		{put, one + "/admin", owners, httpapi.JSON(s.synapsePutAdmin), "Make somebody an owner, or no owner any more."},
		{get, one + "/joined_rooms", owners, s.synapseJoinedRooms, "The rooms that somebody is in."},
		{get, one + "/memberships", owners, s.synapseMemberships, "The rooms that somebody has to do with."},
		{get, one + "/accountdata", owners, s.synapseAccountData, "Somebody's account data."},
		{get, one + "/pushers", owners, s.synapsePushers, "Where somebody's notifications are sent."},
		{post, one + "/login", owners, s.synapseLogin, "Refused: nobody signs in as somebody else."},
		{get, synapse1 + "/whois/{userId}", peopleReaders, s.synapseWhois, "Where an account is signed in."},
		{get, two + "/devices", peopleReaders, s.synapseDevices, "Where an account is signed in."},
		{post, two + "/devices", peopleManagers, httpapi.JSON(s.synapseCreateDevice), "Refused: devices are made by signing in."},
		{get, two + "/devices/{deviceId}", peopleReaders, s.synapseDevice, "A device."},
		{put, two + "/devices/{deviceId}", peopleManagers, httpapi.JSON(s.synapsePutDevice), "Name a device."},
		{remove, two + "/devices/{deviceId}", peopleManagers, s.synapseDeleteDevice, "Sign a device out."},
		{post, two + "/delete_devices", peopleManagers, httpapi.JSON(s.synapseDeleteDevices), "Sign devices out."},
		{get, synapse1 + "/username_available", peopleReaders, s.synapseAvailable, "Whether a name is free."},
		{get, synapse1 + "/threepid/{medium}/users/{address}", peopleReaders, s.synapseFindThreePID, "Who has an address."},
		{get, synapse1 + "/auth_providers/{provider}/users/{externalId}", peopleReaders, s.synapseFindSubject, "Who an identity provider's subject is."},
		{get, synapse1 + "/registration_tokens", owners, s.synapseListTokens, "List registration tokens."},
		{post, synapse1 + "/registration_tokens/new", owners, httpapi.OptionalJSON(s.synapseNewToken), "Make a registration token."},
		{get, synapse1 + "/registration_tokens/{token}", owners, s.synapseGetToken, "A registration token."},
		{put, synapse1 + "/registration_tokens/{token}", owners, httpapi.JSON(s.synapsePutToken), "Change a registration token."},
		{remove, synapse1 + "/registration_tokens/{token}", owners, s.synapseDeleteToken, "Remove a registration token."},
	}
	var all []endpoint
	for _, r := range table {
		limit := ratelimit.Read
		if r.method != get {
			limit = ratelimit.Account
		}
		all = append(all, endpoint{method: r.method, path: r.path, may: r.may, limit: limit, handle: r.handle, doc: httpapi.Doc{Summary: r.summary}})
	}
	return all
}

// scope is the organisation that a list is about: 0 for the operator, who sees all.
func scope(c *httpapi.Call) int64 {
	if c.Requester.Operator() {
		return 0
	}
	return c.Requester.Org
}

// target is the account of the path and who acts on it, in the account's organisation.
func (s *Server) target(ctx context.Context, c *httpapi.Call) (store.Account, accounts.Actor, error) {
	by := accounts.ActorOf(c)
	id, err := c.UserID("userId")
	if err != nil {
		return store.Account{}, by, err
	}
	a, err := s.account(ctx, scope(c), id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		err = matrix.NotFound("User not found")
	}
	by.Org = a.OrganisationID
	return a, by, err
}

func (s *Server) synapseVersion(context.Context, *httpapi.Call) (any, error) {
	return map[string]string{"server_version": s.cfg.Version}, nil
}

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

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
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

// flag reads a parameter of the query that is true, false or missing.
func flag(c *httpapi.Call, name string) (*bool, error) {
	switch c.Query(name) {
	case "":
		return nil, nil
	case "true":
		yes := true
		return &yes, nil
	case "false":
		no := false
		return &no, nil
	}
	return nil, matrix.InvalidParam("%s must be true or false", name)
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

// pageOf is which part of a list is asked for.
func pageOf(c *httpapi.Call) (from, limit int, err error) {
	if from, err = c.QueryInt("from", 0, 0, 1<<30); err != nil {
		return 0, 0, err
	}
	limit, err = c.QueryInt("limit", 100, 1, limits.PageMax)
	return from, limit, err
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

// setOwner makes somebody an owner or no owner any more; other roles are left alone by who only wants no owner.
func (s *Server) setOwner(ctx context.Context, c *httpapi.Call, a *store.Account, owner bool) error {
	role := httpapi.RoleNone
	if owner {
		role = httpapi.RoleOwner
	}
	if owner == (a.Role == string(httpapi.RoleOwner)) {
		return nil
	}
	if a.UserID == c.Requester.User {
		return matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "You may not demote yourself.")
	}
	who := whoOf(c)
	who.Operator = a.OrganisationID != c.Requester.Org
	return s.SetRole(ctx, who, a.OrganisationID, a.UserID, role)
}

type synapseDeactivateRequest struct {
	Erase bool `json:"erase"`
}

// synapseDeactivate closes an account; with erase all that the organisation's policy says goes too.
func (s *Server) synapseDeactivate(ctx context.Context, c *httpapi.Call, req *synapseDeactivateRequest) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	if req.Erase {
		err = s.cfg.People.Delete(ctx, by, a.UserID)
	} else if !a.Deactivated() {
		err = s.cfg.People.Close(ctx, by, a.UserID)
	}
	return map[string]string{"id_server_unbind_result": "success"}, found(err)
}

type synapseSuspendRequest struct {
	Suspend *bool `json:"suspend"`
}

func (s *Server) synapseSuspend(ctx context.Context, c *httpapi.Call, req *synapseSuspendRequest) (any, error) {
	if req.Suspend == nil {
		return nil, matrix.MissingParam("suspend is missing")
	}
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"user_" + string(a.UserID) + "_suspended": *req.Suspend},
		found(s.cfg.People.Update(ctx, by, a.UserID, accounts.Change{Suspended: req.Suspend}, nil))
}

type synapsePasswordRequest struct {
	NewPassword   *string `json:"new_password"`
	LogoutDevices *bool   `json:"logout_devices"`
}

func (s *Server) synapseResetPassword(ctx context.Context, c *httpapi.Call, req *synapsePasswordRequest) (any, error) {
	if req.NewPassword == nil || *req.NewPassword == "" {
		return nil, matrix.MissingParam("new_password is missing")
	}
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	ch := accounts.Change{Password: req.NewPassword, KeepDevices: req.LogoutDevices != nil && !*req.LogoutDevices}
	return nil, found(s.cfg.People.Update(ctx, by, a.UserID, ch, nil))
}

func (s *Server) synapseIsAdmin(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	return map[string]bool{"admin": a.Role == string(httpapi.RoleOwner)}, err
}

type synapseAdminRequest struct {
	Admin *bool `json:"admin"`
}

func (s *Server) synapsePutAdmin(ctx context.Context, c *httpapi.Call, req *synapseAdminRequest) (any, error) {
	if req.Admin == nil {
		return nil, matrix.MissingParam("admin is missing")
	}
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.setOwner(ctx, c, &a, *req.Admin)
}

// memberships are the rooms that the user of the path has to do with.
func (s *Server) memberships(ctx context.Context, c *httpapi.Call) ([]store.Membership, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListMemberships(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list rooms of %s: %w", a.UserID, err)
	}
	return list, nil
}

func (s *Server) synapseJoinedRooms(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.memberships(ctx, c)
	rooms := []matrix.RoomID{}
	for _, m := range list {
		if m.Membership == "join" {
			rooms = append(rooms, m.RoomID)
		}
	}
	slices.Sort(rooms)
	return map[string]any{"joined_rooms": rooms, "total": len(rooms)}, err
}

func (s *Server) synapseMemberships(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.memberships(ctx, c)
	all := map[matrix.RoomID]string{}
	for _, m := range list {
		all[m.RoomID] = m.Membership
	}
	return map[string]any{"memberships": all}, err
}

// synapseAccountData shows what a client has stored for itself. That it was looked at is in the audit log.
func (s *Server) synapseAccountData(ctx context.Context, c *httpapi.Call) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.People.Note(ctx, by, "account.read_data", string(a.UserID)); err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListAccountDataNamed(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list account data of %s: %w", a.UserID, err)
	}
	global, rooms := map[string]json.RawMessage{}, map[matrix.RoomID]map[string]json.RawMessage{}
	for _, d := range list {
		if d.RoomID == "" {
			global[d.Type] = d.Content
			continue
		}
		if rooms[d.RoomID] == nil {
			rooms[d.RoomID] = map[string]json.RawMessage{}
		}
		rooms[d.RoomID][d.Type] = d.Content
	}
	return map[string]any{"account_data": map[string]any{"global": global, "rooms": rooms}}, nil
}

func (s *Server) synapsePushers(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListPushers(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list pushers of %s: %w", a.UserID, err)
	}
	pushers := []map[string]any{}
	for _, p := range list {
		pushers = append(pushers, map[string]any{
			"app_display_name": p.AppDisplayName, "app_id": p.AppID, "data": json.RawMessage(p.Data), "device_display_name": p.DeviceDisplayName,
			"kind": "http", "lang": p.Lang, "profile_tag": p.ProfileTag, "pushkey": p.PushKey,
		})
	}
	return map[string]any{"pushers": pushers, "total": len(pushers)}, nil
}

// synapseLogin is refused. Why: a session in somebody else's name could not be told from the person's own in any room, whatever a log says.
func (s *Server) synapseLogin(ctx context.Context, c *httpapi.Call) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.People.Refused(ctx, by, "account.impersonate", string(a.UserID)); err != nil {
		return nil, err
	}
	return nil, matrix.Forbidden("nobody signs in as somebody else")
}

func (s *Server) synapseWhois(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	devices, err := s.cfg.Store.ListDevices(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", a.UserID, err)
	}
	connections := []map[string]any{}
	for _, d := range devices {
		if d.LastSeenTS != 0 {
			connections = append(connections, map[string]any{"ip": d.LastSeenIP, "last_seen": d.LastSeenTS, "user_agent": ""})
		}
	}
	return map[string]any{"user_id": a.UserID, "devices": map[string]any{"": map[string]any{"sessions": []any{map[string]any{"connections": connections}}}}}, nil
}
