package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// peopleEndpoints are those about the accounts of the own organisation.
func (s *Server) peopleEndpoints() []endpoint {
	const users, one = own + "/users", own + "/users/{userId}"
	return []endpoint{
		{method: get, path: users, may: peopleReaders, handle: s.listPeople, doc: httpapi.Doc{
			Summary: "The accounts of the organisation.", Response: peopleResponse{}, Query: []httpapi.Parameter{
				{Name: "search", Type: "string", Summary: "a part of the user id, the name, an e-mail address or a phone number"},
				{Name: "deactivated", Type: "boolean", Summary: "whether closed accounts are listed too"},
				{Name: "from", Type: "integer", Summary: "next_batch of an earlier answer"}, {Name: "limit", Type: "integer", Summary: "at most 1000"}}}},
		{method: post, path: users, may: peopleManagers, limit: ratelimit.Account, handle: httpapi.JSON(s.createPerson), doc: httpapi.Doc{
			Summary: "Make an account.", Request: NewPerson{}, Response: Person{}}},
		{method: get, path: one, may: peopleReaders, handle: s.getPerson, doc: httpapi.Doc{Summary: "An account.", Response: Person{}}},
		{method: put, path: one, may: peopleManagers, limit: ratelimit.Account, handle: httpapi.JSON(s.changePerson), doc: httpapi.Doc{
			Summary: "Change an account. What is missing stays. locked ends everything that its devices do, on every process at once.",
			Request: PersonChange{}, Response: Person{}}},
		{method: remove, path: one, may: peopleManagers, limit: ratelimit.Account, handle: httpapi.OptionalJSON(s.deletePerson), doc: httpapi.Doc{
			Summary: "Close an account for good and erase what is the person's. Its devices are locked out at once; the rest is removed in the background.",
			Request: deletePersonRequest{}, Response: Erasure{}}},
		{method: get, path: one + "/erasure", may: peopleReaders, handle: s.getErasure, doc: httpapi.Doc{
			Summary: "How far the erasure of an account has come.", Response: Erasure{}}},
		{method: put, path: one + "/password", may: peopleManagers, limit: ratelimit.Account, handle: httpapi.JSON(s.putPersonPassword), doc: httpapi.Doc{
			Summary: "Give an account another password. Its devices are signed out.", Request: passwordRequest{}}},
		{method: get, path: one + "/devices", may: peopleReaders, handle: s.listPersonDevices, doc: httpapi.Doc{
			Summary: "Where an account is signed in.", Response: devicesResponse{}}},
		{method: post, path: one + "/logout", may: peopleManagers, limit: ratelimit.Account, handle: s.logoutPerson, doc: httpapi.Doc{
			Summary: "Sign all devices of an account out."}},
		{method: remove, path: one + "/devices/{deviceId}", may: peopleManagers, limit: ratelimit.Account, handle: s.deletePersonDevice, doc: httpapi.Doc{
			Summary: "Sign a device of an account out."}},
		{method: post, path: one + "/export", may: owners, limit: ratelimit.Account, handle: s.exportPerson, doc: httpapi.Doc{
			Summary: "A link at which an archive of all that is the person's can be fetched once.", Response: exportResponse{}}},
		{method: post, path: own + "/rooms/{roomId}/export", may: owners, limit: ratelimit.Account, handle: s.exportRoom, doc: httpapi.Doc{
			Summary: "A link at which an archive of a room can be fetched once.", Response: exportResponse{}}},
	}
}

// exportPath is where archives are fetched. The link is all that is needed, so that it can be given to the person.
const exportPath = "/_roomline/exports/{token}"

// Person is an account.
type Person struct {
	UserID      matrix.UserID    `json:"user_id"`
	DisplayName string           `json:"displayname,omitempty"`
	AvatarURL   string           `json:"avatar_url,omitempty"`
	Role        httpapi.Role     `json:"role,omitempty"`
	Guest       bool             `json:"guest"`
	Locked      bool             `json:"locked"`
	Suspended   bool             `json:"suspended"`
	Deactivated bool             `json:"deactivated"`
	Erased      bool             `json:"erased"`
	HasPassword bool             `json:"has_password"`
	Emails      []string         `json:"emails"`
	Phones      []string         `json:"phones"`
	CreatedTS   matrix.Timestamp `json:"created_ts"`
	LastSeenTS  matrix.Timestamp `json:"last_seen_ts,omitempty"`
}

func personOf(a *store.Account) Person {
	return Person{
		UserID: a.UserID, DisplayName: a.DisplayName, AvatarURL: a.AvatarURL, Role: httpapi.Role(a.Role), Guest: a.Guest, Locked: a.Locked,
		Suspended: a.Suspended, Deactivated: a.Deactivated(), Erased: a.Erased, HasPassword: a.PasswordHash != "", Emails: nonNil(a.Emails),
		Phones: nonNil(a.Phones), CreatedTS: a.CreatedTS, LastSeenTS: a.LastSeenTS,
	}
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

type peopleResponse struct {
	Users []Person `json:"users"`
	Total int64    `json:"total"`
	// NextBatch is there if there are more: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

func (s *Server) listPeople(ctx context.Context, c *httpapi.Call) (any, error) {
	from, err := c.QueryInt("from", 0, 0, 1<<30)
	if err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", 100, 1, limits.PageMax)
	if err != nil {
		return nil, err
	}
	q := store.AccountQuery{OrganisationID: c.Requester.Org, Search: c.Query("search"), Any: true, NoMachines: true, NoGuests: true}
	if !c.QueryBool("deactivated") {
		no := false
		q.Deactivated = &no
	}
	list, total, err := s.cfg.Store.ListAccounts(ctx, q, from, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	answer := peopleResponse{Users: []Person{}, Total: total}
	for i := range list {
		answer.Users = append(answer.Users, personOf(&list[i]))
	}
	if int64(from+len(list)) < total {
		answer.NextBatch = strconv.Itoa(from + len(list))
	}
	return answer, nil
}

// person is the account of the path, which has to be the organisation's. Closed ones are only seen.
func (s *Server) person(ctx context.Context, c *httpapi.Call) (store.Account, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return store.Account{}, err
	}
	return s.account(ctx, c.Requester.Org, id)
}

func (s *Server) account(ctx context.Context, org int64, id matrix.UserID) (store.Account, error) {
	a, err := s.cfg.Store.GetAccount(ctx, org, id)
	if errors.Is(err, store.ErrNotFound) {
		return a, noSuchPerson()
	}
	if err != nil {
		return a, fmt.Errorf("look up %s: %w", id, err)
	}
	return a, nil
}

func noSuchPerson() *matrix.Error { return matrix.NotFound("there is no such account") }

// found turns the error of one that is not there into an answer.
func found(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return noSuchPerson()
	}
	return err
}

func (s *Server) getPerson(ctx context.Context, c *httpapi.Call) (any, error) {
	a, err := s.person(ctx, c)
	if err != nil {
		return nil, err
	}
	return personOf(&a), nil
}

// NewPerson is an account to be made.
type NewPerson struct {
	// Localpart and Domain make the user id; without a domain it is the organisation's first.
	Localpart   string            `json:"localpart"`
	Domain      matrix.ServerName `json:"domain,omitempty"`
	DisplayName string            `json:"displayname,omitempty"`
	// Password may be missing: the person signs in another way then.
	Password string   `json:"password,omitempty"`
	Emails   []string `json:"emails,omitempty"`
	Phones   []string `json:"phones,omitempty"`
}

func (s *Server) createPerson(ctx context.Context, c *httpapi.Call, req *NewPerson) (any, error) {
	if req.Localpart == "" {
		return nil, matrix.MissingParam("localpart is missing")
	}
	n := auth.NewAccount{Localpart: req.Localpart, Domain: req.Domain, Password: req.Password}
	if n.Domain == "" {
		var err error
		if n.Domain, err = s.cfg.Store.GetOrganisationDomain(ctx, c.Requester.Org); err != nil {
			return nil, fmt.Errorf("look up the organisation's domain: %w", err)
		}
	}
	ch := accounts.Change{DisplayName: &req.DisplayName}
	if err := s.putAddresses(ctx, c.Requester.Org, &ch, &req.Emails, &req.Phones, nil); err != nil {
		return nil, err
	}
	id, err := s.cfg.People.Create(ctx, accounts.ActorOf(c), n, ch)
	if err != nil {
		return nil, err
	}
	a, err := s.account(ctx, c.Requester.Org, id)
	if err != nil {
		return nil, err
	}
	return httpapi.Status{Code: http.StatusCreated, Body: personOf(&a)}, nil
}

// PersonChange is what is to become of an account.
type PersonChange struct {
	DisplayName *string   `json:"displayname,omitempty"`
	AvatarURL   *string   `json:"avatar_url,omitempty"`
	Emails      *[]string `json:"emails,omitempty"`
	Phones      *[]string `json:"phones,omitempty"`
	Locked      *bool     `json:"locked,omitempty"`
	Suspended   *bool     `json:"suspended,omitempty"`
}

func (s *Server) changePerson(ctx context.Context, c *httpapi.Call, req *PersonChange) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	if req.AvatarURL != nil && *req.AvatarURL != "" {
		if _, err := matrix.ParseContentURI(*req.AvatarURL); err != nil {
			return nil, matrix.InvalidParam("avatar_url must be an mxc:// URI")
		}
	}
	ch := accounts.Change{DisplayName: req.DisplayName, Avatar: req.AvatarURL, Locked: req.Locked, Suspended: req.Suspended}
	if req.Emails != nil || req.Phones != nil {
		present, err := s.account(ctx, c.Requester.Org, id)
		if err != nil {
			return nil, err
		}
		if err := s.putAddresses(ctx, c.Requester.Org, &ch, req.Emails, req.Phones, slices.Concat(present.Emails, present.Phones)); err != nil {
			return nil, err
		}
	}
	if err := s.cfg.People.Update(ctx, accounts.ActorOf(c), id, ch, nil); err != nil {
		return nil, found(err)
	}
	a, err := s.account(ctx, c.Requester.Org, id)
	if err != nil {
		return nil, err
	}
	return personOf(&a), nil
}

// putAddresses reads the addresses of a request into a change. Numbers without a country are of the organisation's region. What is present, as answers
// have it, may be said again.
func (s *Server) putAddresses(ctx context.Context, org int64, ch *accounts.Change, emails, phones *[]string, present []string) error {
	o, err := s.cfg.Store.GetOrganisation(ctx, org)
	if err != nil {
		return fmt.Errorf("look up organisation %d: %w", org, err)
	}
	read := func(field, medium string, texts []string) ([]string, error) {
		canonical := []string{}
		for _, text := range texts {
			address, ok := text, slices.Contains(present, text)
			if !ok {
				address, ok = auth.CanonicalAddress(medium, text, o.DefaultRegion)
			}
			if !ok {
				return nil, matrix.InvalidParam("%s: %q is none", field, text)
			}
			canonical = append(canonical, address)
		}
		return canonical, nil
	}
	if emails != nil {
		if ch.Emails, err = read("emails", "email", *emails); err != nil {
			return err
		}
	}
	if phones == nil {
		return nil
	}
	digits, err := read("phones", "msisdn", *phones)
	ch.Phones = []string{}
	for _, number := range digits {
		ch.Phones = append(ch.Phones, "+"+number)
	}
	return err
}

type passwordRequest struct {
	Password string `json:"password"`
}

func (s *Server) putPersonPassword(ctx context.Context, c *httpapi.Call, req *passwordRequest) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	if req.Password == "" {
		return nil, matrix.MissingParam("password is missing")
	}
	return nil, found(s.cfg.People.Update(ctx, accounts.ActorOf(c), id, accounts.Change{Password: &req.Password}, nil))
}

type devicesResponse struct {
	Devices []personDevice `json:"devices"`
}

type personDevice struct {
	DeviceID    matrix.DeviceID  `json:"device_id"`
	DisplayName string           `json:"display_name,omitempty"`
	CreatedTS   matrix.Timestamp `json:"created_ts"`
	LastSeenTS  matrix.Timestamp `json:"last_seen_ts,omitempty"`
	LastSeenIP  string           `json:"last_seen_ip,omitempty"`
}

func (s *Server) listPersonDevices(ctx context.Context, c *httpapi.Call) (any, error) {
	a, err := s.person(ctx, c)
	if err != nil {
		return nil, err
	}
	devices, err := s.cfg.Store.ListDevices(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", a.UserID, err)
	}
	answer := devicesResponse{Devices: []personDevice{}}
	for _, d := range devices {
		answer.Devices = append(answer.Devices, personDevice{d.DeviceID, d.DisplayName, d.CreatedTS, d.LastSeenTS, d.LastSeenIP})
	}
	return answer, nil
}

func (s *Server) logoutPerson(ctx context.Context, c *httpapi.Call) (any, error) {
	a, err := s.person(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, found(s.cfg.People.EndSessions(ctx, accounts.ActorOf(c), a.UserID, nil))
}

func (s *Server) deletePersonDevice(ctx context.Context, c *httpapi.Call) (any, error) {
	a, err := s.person(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, found(s.cfg.People.EndSessions(ctx, accounts.ActorOf(c), a.UserID, []matrix.DeviceID{matrix.DeviceID(c.Path("deviceId"))}))
}

type deletePersonRequest struct {
	// EraseMessages and EraseMedia decide in place of the organisation's policy.
	EraseMessages *bool `json:"erase_messages,omitempty"`
	EraseMedia    *bool `json:"erase_media,omitempty"`
}

// Erasure is the removal of what was somebody's.
type Erasure struct {
	UserID      matrix.UserID    `json:"user_id"`
	RequestedTS matrix.Timestamp `json:"requested_ts"`
	Messages    bool             `json:"erase_messages"`
	Media       bool             `json:"erase_media"`
	// DoneTS is there when nothing is left but what the documentation names.
	DoneTS matrix.Timestamp `json:"done_ts,omitempty"`
}

func (s *Server) deletePerson(ctx context.Context, c *httpapi.Call, req *deletePersonRequest) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	err = s.cfg.People.DeleteAs(ctx, accounts.ActorOf(c), id, accounts.Deletion{Messages: req.EraseMessages, Media: req.EraseMedia})
	if err != nil {
		return nil, found(err)
	}
	return s.erasure(ctx, c.Requester.Org, id)
}

func (s *Server) getErasure(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	return s.erasure(ctx, c.Requester.Org, id)
}

func (s *Server) erasure(ctx context.Context, org int64, id matrix.UserID) (any, error) {
	e, err := s.cfg.Store.GetErasure(ctx, org, id)
	if err != nil {
		return nil, found(err)
	}
	return Erasure{e.UserID, e.RequestedTS, e.Messages, e.Media, e.DoneTS}, nil
}

type exportResponse struct {
	// Path is where the archive is, on this server. It is good for one fetch.
	Path      string           `json:"path"`
	ExpiresTS matrix.Timestamp `json:"expires_ts"`
}

func exported(link accounts.Link, err error) (any, error) {
	if err != nil {
		return nil, found(err)
	}
	return exportResponse{strings.Replace(exportPath, "{token}", link.Token, 1), link.ExpiresTS}, nil
}

func (s *Server) exportPerson(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	return exported(s.cfg.People.ExportUser(ctx, accounts.ActorOf(c), id))
}

func (s *Server) exportRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return exported(s.cfg.People.ExportRoom(ctx, accounts.ActorOf(c), id))
}

// fetchExport writes an archive while it is fetched.
func (s *Server) fetchExport(ctx context.Context, c *httpapi.Call) (any, error) {
	archive, err := s.cfg.People.TakeExport(ctx, c.Path("token"), c.ClientAddr())
	if err != nil {
		return nil, err
	}
	c.W.Header().Set("Content-Type", "application/zip")
	c.W.Header().Set("Content-Disposition", `attachment; filename="export.zip"`)
	w := c.Paced()
	defer w.Release()
	return nil, archive.Write(ctx, w)
}
