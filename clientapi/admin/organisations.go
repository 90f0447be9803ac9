package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
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

// organisationEndpoints are those about organisations as such.
func (s *Server) organisationEndpoints() []endpoint {
	const one = operator + "/organisations/{organisationId}"
	return []endpoint{
		{method: get, path: own + "/organisation", may: administrators, handle: s.getOwnOrganisation, doc: httpapi.Doc{
			Summary: "The own organisation.", Response: Organisation{}}},
		{method: put, path: own + "/organisation", may: owners, limit: ratelimit.Account, handle: httpapi.JSON(s.changeOwnOrganisation), doc: httpapi.Doc{
			Summary: "Change the name or the region of the own organisation. What is missing stays.", Request: ownChange{}, Response: Organisation{}}},
		{method: get, path: operator + "/organisations", may: operators, handle: s.listOrganisations, doc: httpapi.Doc{
			Summary: "All organisations.", Response: organisationsResponse{}, Query: []httpapi.Parameter{
				{Name: "from", Type: "string", Summary: "next_batch of an earlier answer"}, {Name: "limit", Type: "integer", Summary: "at most 1000"}}}},
		{method: post, path: operator + "/organisations", may: operators, limit: ratelimit.Account, handle: httpapi.JSON(s.createOrganisation),
			doc: httpapi.Doc{Summary: "Make an organisation, with its first domain and its first owner.", Request: NewOrganisation{}, Response: MadeOrganisation{}}},
		{method: get, path: one, may: operators, handle: s.getOrganisation, doc: httpapi.Doc{
			Summary: "An organisation.", Response: Organisation{}}},
		{method: put, path: one, may: operators, limit: ratelimit.Account, handle: httpapi.JSON(s.changeAnOrganisation), doc: httpapi.Doc{
			Summary: "Change an organisation. What is missing stays.", Request: OrganisationChange{}, Response: Organisation{}}},
		{method: post, path: one + "/suspend", may: operators, limit: ratelimit.Account, handle: s.stateHandler(store.OrganisationSuspended), doc: httpapi.Doc{
			Summary:  "Lock the organisation's people and application services out, at once and on every process, until resume.",
			Response: Organisation{}}},
		{method: post, path: one + "/resume", may: operators, limit: ratelimit.Account, handle: s.stateHandler(store.OrganisationActive), doc: httpapi.Doc{
			Summary: "Let a suspended organisation in again.", Response: Organisation{}}},
		{method: remove, path: one, may: operators, limit: ratelimit.Account, handle: s.stateHandler(store.OrganisationDeleted), doc: httpapi.Doc{
			Summary:  "Delete an organisation for good: it is locked out at once, and its accounts, rooms and media are removed in the background. removed_ts says when that is done.",
			Response: Organisation{}}},
	}
}

// Organisation is what is told of an organisation.
type Organisation struct {
	ID            int64               `json:"organisation_id"`
	Name          string              `json:"name"`
	State         string              `json:"state"`
	Domains       []matrix.ServerName `json:"domains"`
	DefaultRegion string              `json:"default_region"`
	// MaxPeople is 0 for no bound.
	MaxPeople int64            `json:"max_people"`
	People    int64            `json:"people"`
	CreatedTS matrix.Timestamp `json:"created_ts"`
	// RemovedTS is there when all is removed that a deleted organisation had.
	RemovedTS matrix.Timestamp `json:"removed_ts,omitempty"`
}

func (s *Server) describe(ctx context.Context, o store.Organisation) (Organisation, error) {
	answer := Organisation{
		ID: o.ID, Name: o.Name, State: o.State, Domains: []matrix.ServerName{}, DefaultRegion: o.DefaultRegion,
		MaxPeople: o.MaxPeople, CreatedTS: o.CreatedTS, RemovedTS: o.RemovedTS,
	}
	domains, err := s.cfg.Store.ListOrganisationDomains(ctx, o.ID)
	if err != nil {
		return answer, fmt.Errorf("list the domains of an organisation: %w", err)
	}
	for _, d := range domains {
		answer.Domains = append(answer.Domains, d.ServerName)
	}
	if answer.People, err = s.cfg.Store.CountPeople(ctx, o.ID); err != nil {
		return answer, fmt.Errorf("count the people of an organisation: %w", err)
	}
	return answer, nil
}

// Describe says what an organisation is.
func (s *Server) Describe(ctx context.Context, id int64) (*Organisation, error) {
	o, err := s.cfg.Store.GetOrganisation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchOrganisation()
	}
	if err != nil {
		return nil, fmt.Errorf("load the organisation: %w", err)
	}
	answer, err := s.describe(ctx, o)
	return &answer, err
}

// getOwnOrganisation says what the requester's organisation is.
func (s *Server) getOwnOrganisation(ctx context.Context, c *httpapi.Call) (any, error) {
	o, err := s.cfg.Store.GetOrganisation(ctx, c.Requester.Org)
	if err != nil {
		return nil, fmt.Errorf("load the organisation: %w", err)
	}
	return s.describe(ctx, o)
}

func noSuchOrganisation() *matrix.Error { return matrix.NotFound("there is no such organisation") }

// organisation is what the path names.
func (s *Server) organisation(ctx context.Context, c *httpapi.Call) (store.Organisation, error) {
	id, err := organisationID(c)
	if err != nil {
		return store.Organisation{}, err
	}
	o, err := s.cfg.Store.GetOrganisation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return o, noSuchOrganisation()
	}
	if err != nil {
		return o, fmt.Errorf("load the organisation: %w", err)
	}
	return o, nil
}

// organisationID is the number in the path.
func organisationID(c *httpapi.Call) (int64, error) {
	id, err := strconv.ParseInt(c.Path("organisationId"), 10, 64)
	if err != nil || id < 1 {
		return 0, noSuchOrganisation()
	}
	return id, nil
}

// getOrganisation says what an organisation is.
func (s *Server) getOrganisation(ctx context.Context, c *httpapi.Call) (any, error) {
	o, err := s.organisation(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.describe(ctx, o)
}

// OrganisationChange is what the operator changes of an organisation.
type OrganisationChange struct {
	Name          *string `json:"name,omitempty"`
	DefaultRegion *string `json:"default_region,omitempty"`
	MaxPeople     *int64  `json:"max_people,omitempty"`
}

// ownChange is what an organisation changes of itself.
type ownChange struct {
	Name          *string `json:"name,omitempty"`
	DefaultRegion *string `json:"default_region,omitempty"`
}

func (s *Server) changeOwnOrganisation(ctx context.Context, c *httpapi.Call, req *ownChange) (any, error) {
	return s.ChangeOrganisation(ctx, whoOf(c), c.Requester.Org, OrganisationChange{Name: req.Name, DefaultRegion: req.DefaultRegion})
}

func (s *Server) changeAnOrganisation(ctx context.Context, c *httpapi.Call, req *OrganisationChange) (any, error) {
	id, err := organisationID(c)
	if err != nil {
		return nil, err
	}
	return s.ChangeOrganisation(ctx, operatorOf(c), id, *req)
}

// ChangeOrganisation changes what is said of an organisation. Fewer people than there are may be allowed: none is made then.
func (s *Server) ChangeOrganisation(ctx context.Context, who Who, id int64, change OrganisationChange) (*Organisation, error) {
	return s.editOrganisation(ctx, who, id, "organisation.change", func(o *store.Organisation) (map[string]any, error) {
		if o.State == store.OrganisationDeleted {
			return nil, deletedForGood()
		}
		detail := map[string]any{}
		if change.Name != nil {
			o.Name, detail["name"] = *change.Name, *change.Name
		}
		if change.DefaultRegion != nil {
			o.DefaultRegion, detail["default_region"] = *change.DefaultRegion, *change.DefaultRegion
		}
		if change.MaxPeople != nil {
			o.MaxPeople, detail["max_people"] = *change.MaxPeople, *change.MaxPeople
		}
		return detail, checkOrganisation(*o)
	})
}

// stateActs are what bringing an organisation into a state is called in the audit log.
var stateActs = map[string]string{
	store.OrganisationActive: "organisation.resume", store.OrganisationSuspended: "organisation.suspend", store.OrganisationDeleted: "organisation.delete",
}

func (s *Server) stateHandler(state string) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		id, err := organisationID(c)
		if err != nil {
			return nil, err
		}
		return s.SetState(ctx, operatorOf(c), id, state)
	}
}

// SetState suspends an organisation, lets it in again, or deletes it, on every process within a second. Doing it again changes nothing.
func (s *Server) SetState(ctx context.Context, who Who, id int64, state string) (*Organisation, error) {
	o, err := s.editOrganisation(ctx, who, id, stateActs[state], func(o *store.Organisation) (map[string]any, error) {
		switch {
		case o.ID == store.DefaultOrganisation:
			return nil, matrix.Forbidden("this is the operator's own organisation")
		case o.State == store.OrganisationDeleted && state != store.OrganisationDeleted:
			return nil, deletedForGood()
		}
		o.State = state
		return nil, nil
	})
	if err == nil && state == store.OrganisationDeleted {
		s.wakeRemover()
	}
	return o, err
}

func deletedForGood() *matrix.Error {
	return matrix.Forbidden("the organisation is deleted for good")
}

// editOrganisation changes an organisation, if edit changes it. edit says what the audit log keeps.
func (s *Server) editOrganisation(
	ctx context.Context, who Who, id int64, action string, edit func(o *store.Organisation) (map[string]any, error),
) (*Organisation, error) {
	var o store.Organisation
	err := s.change(ctx, who, func(tx *store.Tx) (a act, updates []store.Update, err error) {
		if o, err = tx.LockOrganisation(ctx, id); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				err = noSuchOrganisation()
			}
			return act{}, nil, err
		}
		before := o
		detail, err := edit(&o)
		if err != nil || o == before {
			return act{}, nil, err
		}
		if o.State == store.OrganisationDeleted && before.State != o.State {
			held, err := tx.CountHolds(ctx, id)
			if err != nil {
				return act{}, nil, err
			}
			if held > 0 {
				return act{}, nil, accounts.Held("something of the organisation")
			}
		}
		if err := tx.PutOrganisation(ctx, o); err != nil {
			return act{}, nil, err
		}
		if o.State == store.OrganisationDeleted {
			if err := tx.EndLinks(ctx, id, s.now()); err != nil {
				return act{}, nil, err
			}
		}
		update, err := tx.OrganisationChanged(ctx, id)
		return act{organisation: id, action: action, target: o.Name, detail: detail}, []store.Update{update}, err
	})
	if err != nil {
		return nil, err
	}
	answer, err := s.describe(ctx, o)
	return &answer, err
}

type organisationsResponse struct {
	Organisations []Organisation `json:"organisations"`
	// NextBatch is there if there are more: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

// listOrganisations lists all, in the order of their numbers.
func (s *Server) listOrganisations(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, limits.PageMax)
	if err != nil {
		return nil, err
	}
	after, err := c.QueryInt("from", 0, 0, limits.MaxInteger)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListAllOrganisations(ctx, int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list organisations: %w", err)
	}
	answer := organisationsResponse{Organisations: []Organisation{}}
	for _, o := range list {
		described, err := s.describe(ctx, o)
		if err != nil {
			return nil, err
		}
		answer.Organisations = append(answer.Organisations, described)
	}
	if len(list) == limit {
		answer.NextBatch = strconv.FormatInt(list[limit-1].ID, 10)
	}
	return answer, nil
}

// NewOrganisation is an organisation to be made.
type NewOrganisation struct {
	Name          string   `json:"name"`
	Domain        string   `json:"domain"`
	DefaultRegion string   `json:"default_region,omitempty"`
	MaxPeople     int64    `json:"max_people,omitempty"`
	Owner         NewOwner `json:"owner"`
}

// NewOwner is the first owner of an organisation.
type NewOwner struct {
	Localpart   string `json:"localpart"`
	DisplayName string `json:"displayname,omitempty"`
	// Password is made up if empty.
	Password string `json:"password,omitempty"`
}

// MadeOrganisation is an organisation that was made.
type MadeOrganisation struct {
	Organisation
	Owner MadeOwner `json:"owner"`
}

// MadeOwner is its owner.
type MadeOwner struct {
	UserID matrix.UserID `json:"user_id"`
	// Password is there if it was made up. It is not told again.
	Password string `json:"password,omitempty"`
}

func (s *Server) createOrganisation(ctx context.Context, c *httpapi.Call, req *NewOrganisation) (any, error) {
	return s.CreateOrganisation(ctx, operatorOf(c), *req)
}

// CreateOrganisation makes an organisation with its first domain, whose signing key is made too, and its first owner.
func (s *Server) CreateOrganisation(ctx context.Context, who Who, n NewOrganisation) (*MadeOrganisation, error) {
	domain, err := checkDomain(n.Domain)
	if err != nil {
		return nil, err
	}
	o := store.Organisation{Name: n.Name, DefaultRegion: n.DefaultRegion, MaxPeople: n.MaxPeople, CreatedTS: s.now()}
	if err := checkOrganisation(o); err != nil {
		return nil, err
	}
	if n.Owner.Localpart == "" {
		return nil, matrix.MissingParam("owner.localpart is missing")
	}
	made := &MadeOrganisation{}
	password := n.Owner.Password
	if password == "" {
		password = NewPassword()
		made.Owner.Password = password
	}
	account, err := s.cfg.Accounts.Prepare(ctx, auth.NewAccount{
		Localpart: n.Owner.Localpart, Domain: domain, Password: password, DisplayName: n.Owner.DisplayName, Role: httpapi.RoleOwner,
	})
	if err != nil {
		return nil, err
	}
	made.Owner.UserID = account.User
	err = s.changeOrganisation(ctx, who, func(tx *store.Tx) (act, error) {
		if o.ID, err = tx.InsertOrganisation(ctx, o); err != nil {
			return act{}, err
		}
		if err := s.insertDomain(ctx, tx, store.HostedDomain{ServerName: domain, OrganisationID: o.ID, CreatedTS: o.CreatedTS}); err != nil {
			return act{}, err
		}
		return act{o.ID, "organisation.create", string(domain), map[string]any{"name": o.Name, "owner": account.User}},
			s.cfg.Accounts.Insert(ctx, tx, account, o.ID)
	})
	if err != nil {
		return nil, fmt.Errorf("make an organisation: %w", err)
	}
	if err := s.cfg.Keys.Reload(ctx); err != nil {
		return nil, err
	}
	if o, err = s.cfg.Store.GetOrganisation(ctx, o.ID); err != nil {
		return nil, err
	}
	made.Organisation, err = s.describe(ctx, o)
	return made, err
}

// insertDomain gives an organisation a domain with its signing key.
func (s *Server) insertDomain(ctx context.Context, tx *store.Tx, d store.HostedDomain) error {
	key, err := s.cfg.Keys.NewKey(d.ServerName)
	if err != nil {
		return err
	}
	inserted, err := tx.InsertHostedDomain(ctx, d)
	if err != nil {
		return err
	}
	if !inserted {
		return matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidParam, "domain: %s is hosted already", d.ServerName)
	}
	return tx.InsertSigningKey(ctx, key)
}

// checkDomain checks a domain that is to be hosted: a name in small letters, as user ids have it.
func checkDomain(name string) (matrix.ServerName, error) {
	domain, err := matrix.ParseServerName(name)
	if e, refused := matrix.AsError(err); refused {
		return "", matrix.InvalidParam("domain: %s", e.Message)
	}
	if name != strings.ToLower(name) {
		return "", matrix.InvalidParam("domain must be in small letters")
	}
	return domain, nil
}

// checkOrganisation checks what an operator says of an organisation.
func checkOrganisation(o store.Organisation) error {
	switch {
	case o.Name == "":
		return matrix.MissingParam("name is missing")
	case len(o.Name) > limits.OrganisationName:
		return matrix.InvalidParam("name must have at most %d bytes", limits.OrganisationName)
	case o.DefaultRegion != "" && !isRegion(o.DefaultRegion):
		return matrix.InvalidParam("default_region must be two capital letters (ISO 3166-1)")
	case o.MaxPeople < 0 || o.MaxPeople > limits.MaxInteger:
		return matrix.InvalidParam("max_people must not be negative; 0 is no bound")
	}
	return nil
}

func isRegion(s string) bool {
	return len(s) == 2 && 'A' <= s[0] && s[0] <= 'Z' && 'A' <= s[1] && s[1] <= 'Z'
}

// NewPassword is easy to type: 80 random bits in groups of four.
func NewPassword() string {
	text := strings.ToLower(rand.Text()[:16])
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}
