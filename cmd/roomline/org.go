package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The commands about organisations, for the operator at the machine. They are the operator's API without HTTP: ORG is an organisation's number,
// or one of its domains.

// withOrganisation runs f for the organisation that was typed.
func (c *call) withOrganisation(fs *flag.FlagSet, operands int, f func(ctx context.Context, a *app, id int64, operands []string) error) error {
	var from source
	from.register(fs)
	given, cfg, err := c.parseWithConfig(fs, &from, operands)
	if err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		id, err := a.findOrganisation(ctx, given[0])
		if err != nil {
			return err
		}
		return readable(f(ctx, a, id, given[1:]))
	})
}

func (a *app) findOrganisation(ctx context.Context, typed string) (int64, error) {
	if id, err := strconv.ParseInt(typed, 10, 64); err == nil {
		return id, nil
	}
	domain, err := a.store.GetHostedDomain(ctx, matrix.ServerName(typed))
	if errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("%s is neither the number of an organisation nor a domain of one", typed)
	}
	return domain.OrganisationID, err
}

// createOrganisation makes an organisation and prints its number and the owner's password.
func createOrganisation(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	var n admin.NewOrganisation
	fs.StringVar(&n.DefaultRegion, "region", "", "where phone numbers belong that are written without a country, such as `CC` AT")
	fs.Int64Var(&n.MaxPeople, "max-people", 0, "how many people it may have; 0 is no bound")
	fs.StringVar(&n.Owner.Localpart, "owner", "admin", "the `NAME` of its first owner")
	fromStdin := fs.Bool("password-stdin", false, "read the owner's password from the standard input; without it one is made up and printed")
	operands, cfg, err := c.parseWithConfig(fs, &from, 2)
	if err != nil {
		return err
	}
	n.Name, n.Domain = operands[0], operands[1]
	if n.Owner.Password, err = c.password(*fromStdin); err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		made, err := a.admin.CreateOrganisation(ctx, admin.AtTheMachine, n)
		if err != nil {
			return readable(err)
		}
		if _, err := fmt.Fprintf(c.stdout, "organisation %d, domain %s\n", made.ID, n.Domain); err != nil {
			return err
		}
		return c.report("made", made.Owner.UserID, n.Owner.Password, *fromStdin)
	})
}

// listOrganisations prints all organisations.
func listOrganisations(c *call) error {
	return c.onApp(0, func(ctx context.Context, a *app, _ []string) error {
		w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NUMBER\tSTATE\tPEOPLE\tDOMAINS\tNAME")
		for after := int64(0); ; {
			list, err := a.store.ListAllOrganisations(ctx, after, listPage)
			if err != nil {
				return err
			}
			for _, o := range list {
				described, err := a.admin.Describe(ctx, o.ID)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\n", o.ID, o.State, described.People, domainList(described.Domains), o.Name)
				after = o.ID
			}
			if len(list) < listPage {
				return w.Flush()
			}
		}
	})
}

func domainList(domains []matrix.ServerName) string {
	texts := make([]string, len(domains))
	for i, d := range domains {
		texts[i] = string(d)
	}
	return strings.Join(texts, " ")
}

// showOrganisation prints what there is to know of an organisation.
func showOrganisation(c *call) error {
	return c.withOrganisation(c.flags(), 1, func(ctx context.Context, a *app, id int64, _ []string) error {
		o, err := a.admin.Describe(ctx, id)
		if err != nil {
			return err
		}
		return c.printOrganisation(ctx, a, o)
	})
}

func (c *call) printOrganisation(ctx context.Context, a *app, o *admin.Organisation) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	bound := "no bound"
	if o.MaxPeople > 0 {
		bound = fmt.Sprint("of at most ", o.MaxPeople)
	}
	fmt.Fprintf(w, "number\t%d\nname\t%s\nstate\t%s\ndomains\t%s\nregion\t%s\npeople\t%d, %s\nmade\t%s\n", o.ID, o.Name, o.State,
		domainList(o.Domains), o.DefaultRegion, o.People, bound, o.CreatedTS.Time().UTC().Format(time.DateOnly))
	if o.RemovedTS != 0 {
		fmt.Fprintf(w, "removed\t%s\n", o.RemovedTS.Time().UTC().Format(time.DateTime))
	}
	users, err := a.store.ListRoles(ctx, o.ID)
	if err != nil {
		return err
	}
	for _, u := range users {
		fmt.Fprintf(w, "%s\t%s\n", u.Role, u.UserID)
	}
	return w.Flush()
}

// changeOrganisation changes what the flags say.
func changeOrganisation(c *call) error {
	fs := c.flags()
	name, region := fs.String("name", "", "its new `NAME`"), fs.String("region", "", "its new region `CC`")
	people := fs.Int64("max-people", 0, "how many people it may have; 0 is no bound")
	return c.withOrganisation(fs, 1, func(ctx context.Context, a *app, id int64, _ []string) error {
		var change admin.OrganisationChange
		fs.Visit(func(f *flag.Flag) {
			switch f.Name {
			case "name":
				change.Name = name
			case "region":
				change.DefaultRegion = region
			case "max-people":
				change.MaxPeople = people
			}
		})
		o, err := a.admin.ChangeOrganisation(ctx, admin.AtTheMachine, id, change)
		if err != nil {
			return err
		}
		return c.printOrganisation(ctx, a, o)
	})
}

// addDomain gives an organisation a domain.
func addDomain(c *call) error {
	fs := c.flags()
	base := fs.String("base-url", "", "the `URL` at which its clients reach the server, if it is not the configuration's")
	return c.withOrganisation(fs, 2, func(ctx context.Context, a *app, id int64, operands []string) error {
		d, err := a.admin.AddDomain(ctx, admin.AtTheMachine, id, admin.NewDomain{Domain: operands[0], Discovery: store.Discovery{BaseURL: *base}})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.stdout, "%s signs with %s\n", d.ServerName, d.KeyID)
		return err
	})
}

// setRole gives a role, or takes it.
func setRole(c *call) error {
	return c.withOrganisation(c.flags(), 3, func(ctx context.Context, a *app, id int64, operands []string) error {
		role := httpapi.Role(operands[1])
		if role == "none" {
			role = httpapi.RoleNone
		}
		localpart, domain, err := localUser(a.cfg, operands[0])
		if err != nil {
			return err
		}
		user := matrix.UserID("@" + localpart + ":" + string(domain))
		if err := a.admin.SetRole(ctx, admin.AtTheMachine, id, user, role); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.stdout, "%s: %s\n", user, operands[1])
		return err
	})
}

// setOrganisation brings an organisation into a state.
func setOrganisation(state string) func(*call) error {
	return func(c *call) error {
		fs := c.flags()
		sure := state != store.OrganisationDeleted
		if !sure {
			fs.BoolVar(&sure, "yes", false, "you are sure: nothing of it can be brought back")
		}
		return c.withOrganisation(fs, 1, func(ctx context.Context, a *app, id int64, _ []string) error {
			if !sure {
				return errors.New("this deletes all accounts, rooms and files of the organisation for good; say --yes")
			}
			o, err := a.admin.SetState(ctx, admin.AtTheMachine, id, state)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.stdout, "%s is %s\n", o.Name, o.State)
			return err
		})
	}
}

// exportAudit prints the audit log of an organisation.
func exportAudit(c *call) error {
	return c.withOrganisation(c.flags(), 1, func(ctx context.Context, a *app, id int64, _ []string) error {
		if err := a.admin.NoteAuditRead(ctx, admin.AtTheMachine, id); err != nil {
			return err
		}
		return a.admin.ExportAudit(ctx, c.stdout, id, 0)
	})
}

// verifyAudit says whether a log is whole. With a file it needs neither configuration nor database.
func verifyAudit(c *call) error {
	fs := c.flags()
	file := fs.String("file", "", "an export, to be checked in place of the database's log: ORG is not given then")
	if hasFlag(c.args, "file") {
		if _, err := c.parse(fs, 0); err != nil {
			return err
		}
		f, err := os.Open(*file)
		if err != nil {
			return err
		}
		defer f.Close()
		verdict, err := admin.VerifyExport(f)
		if err != nil {
			return err
		}
		return c.printVerdict(verdict)
	}
	return c.withOrganisation(fs, 1, func(ctx context.Context, a *app, id int64, _ []string) error {
		verdict, err := a.admin.VerifyAudit(ctx, id)
		if err != nil {
			return err
		}
		return c.printVerdict(verdict)
	})
}

// hasFlag reports whether a flag is among arguments that are not parsed yet.
func hasFlag(args []string, name string) bool {
	for _, a := range args {
		if text := strings.TrimLeft(a, "-"); text != a && (text == name || strings.HasPrefix(text, name+"=")) {
			return true
		}
	}
	return false
}

func (c *call) printVerdict(v *admin.AuditVerdict) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.stdout, "%s\n", text); err != nil {
		return err
	}
	if !v.Valid {
		return fmt.Errorf("the audit log is not whole: entry %d is missing, or is not what was written", v.FirstBad)
	}
	return nil
}
