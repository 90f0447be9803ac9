package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// linkCommand is what the commands about links have in common.
type linkCommand struct {
	from         source
	organisation string
	gives        string
}

// linkHas says which flags and operands a command about links has.
type linkHas struct {
	gives    bool
	operands int
}

// withLinks runs f for the organisation that the flags name.
func (c *call) withLinks(has linkHas, f func(ctx context.Context, a *app, org int64, gives *store.Sharing, operands []string) (*admin.Link, error)) error {
	fs := c.flags()
	var l linkCommand
	l.from.register(fs)
	fs.StringVar(&l.organisation, "organisation", "", "the organisation that does it: a `DOMAIN` of it, or its number")
	if has.gives {
		fs.StringVar(&l.gives, "gives", "", "what it gives, a `LIST` of "+strings.Join(sharingNames(), ", "))
	}
	operands, cfg, err := c.parseWithConfig(fs, &l.from, has.operands)
	if err != nil {
		return err
	}
	if l.organisation == "" {
		return errors.New("--organisation is missing")
	}
	gives, err := parseSharing(l.gives)
	if err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		org, err := organisationNamed(ctx, a, l.organisation)
		if err != nil {
			return err
		}
		link, err := f(ctx, a, org, gives, operands)
		if err != nil || link == nil {
			return readable(err)
		}
		return c.printLinks([]admin.Link{*link})
	})
}

// organisationNamed finds an organisation by one of its domains, or by its number.
func organisationNamed(ctx context.Context, a *app, name string) (int64, error) {
	d, err := a.store.GetHostedDomain(ctx, matrix.ServerName(name))
	if err == nil {
		return d.OrganisationID, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	number, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("there is no organisation with the domain %s", name)
	}
	o, err := a.store.GetOrganisation(ctx, number)
	if errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("there is no organisation %d", number)
	}
	return o.ID, err
}

// sharingNames are the names of what may be given, as the API has them.
func sharingNames() []string {
	t := reflect.TypeFor[store.Sharing]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("json")
	}
	return names
}

// parseSharing reads a list of names.
func parseSharing(text string) (*store.Sharing, error) {
	gives := &store.Sharing{}
	names := sharingNames()
	for name := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("--gives: there is no %q, but %s", name, strings.Join(names, ", "))
		}
		reflect.ValueOf(gives).Elem().Field(i).SetBool(true)
	}
	return gives, nil
}

// sharingText is the contrary of parseSharing.
func sharingText(gives *store.Sharing) string {
	if gives == nil {
		return "-"
	}
	var list []string
	for i, name := range sharingNames() {
		if reflect.ValueOf(*gives).Field(i).Bool() {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ",")
}

func (c *call) printLinks(links []admin.Link) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LINK\tSTATE\tWITH\tGIVES\tRECEIVES")
	for _, l := range links {
		with := string(l.Domain)
		if l.Organisation != nil {
			with = l.Organisation.Name
			if len(l.Organisation.Domains) > 0 {
				with += " (" + string(l.Organisation.Domains[0]) + ")"
			}
		}
		state := string(l.State)
		if l.State == store.LinkProposed && !l.Proposed {
			state = "proposed by them"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", l.ID, state, with, sharingText(l.Gives), sharingText(l.Receives))
	}
	return w.Flush()
}

// listLinks prints the links of an organisation.
func listLinks(c *call) error {
	return c.withLinks(linkHas{}, func(ctx context.Context, a *app, org int64, _ *store.Sharing, _ []string) (*admin.Link, error) {
		var all []admin.Link
		for before := int64(0); ; before = all[len(all)-1].ID {
			links, err := a.admin.Links(ctx, org, before, listPage)
			if err != nil {
				return nil, err
			}
			if all = append(all, links...); len(links) < listPage {
				return nil, c.printLinks(all)
			}
		}
	})
}

// proposeLink proposes a link in the name of an organisation.
func proposeLink(c *call) error {
	return c.withLinks(linkHas{gives: true, operands: 1}, func(ctx context.Context, a *app, org int64, gives *store.Sharing, operands []string) (*admin.Link, error) {
		return a.admin.ProposeLink(ctx, admin.AtTheMachine, org, admin.NewLink{Domain: operands[0], Gives: gives})
	})
}

// acceptLink, refuseLink, revokeLink and putLinkGives act in the name of an organisation on one of its links.
func acceptLink(c *call) error {
	return c.withLinks(linkHas{gives: true, operands: 1}, oneLink(func(ctx context.Context, a *app, org, id int64, gives *store.Sharing) (*admin.Link, error) {
		return a.admin.AcceptLink(ctx, admin.AtTheMachine, org, id, gives)
	}))
}

func refuseLink(c *call) error {
	return c.withLinks(linkHas{operands: 1}, oneLink(func(ctx context.Context, a *app, org, id int64, _ *store.Sharing) (*admin.Link, error) {
		return a.admin.RefuseLink(ctx, admin.AtTheMachine, org, id)
	}))
}

func revokeLink(c *call) error {
	return c.withLinks(linkHas{operands: 1}, oneLink(func(ctx context.Context, a *app, org, id int64, _ *store.Sharing) (*admin.Link, error) {
		return a.admin.RevokeLink(ctx, admin.AtTheMachine, org, id)
	}))
}

func putLinkGives(c *call) error {
	return c.withLinks(linkHas{gives: true, operands: 1}, oneLink(func(ctx context.Context, a *app, org, id int64, gives *store.Sharing) (*admin.Link, error) {
		return a.admin.PutLinkGives(ctx, admin.AtTheMachine, org, id, gives)
	}))
}

// oneLink reads the number of a link.
func oneLink(f func(ctx context.Context, a *app, org, id int64, gives *store.Sharing) (*admin.Link, error)) func(context.Context, *app, int64, *store.Sharing, []string) (*admin.Link, error) {
	return func(ctx context.Context, a *app, org int64, gives *store.Sharing, operands []string) (*admin.Link, error) {
		id, err := strconv.ParseInt(operands[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not the number of a link", operands[0])
		}
		return f(ctx, a, org, id, gives)
	}
}
