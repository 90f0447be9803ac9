package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// listPage is how many accounts are read at a time.
const listPage = 1000

// onApp is withApp for a command that is told where the configuration is, so many operands, and nothing else.
func (c *call) onApp(operands int, f func(ctx context.Context, a *app, operands []string) error) error {
	fs := c.flags()
	var from source
	from.register(fs)
	given, cfg, err := c.parseWithConfig(fs, &from, operands)
	if err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error { return f(ctx, a, given) })
}

// withApp runs f on an application without listeners, beside the server if that is running.
func (c *call) withApp(cfg *config.Config, f func(ctx context.Context, a *app) error) (err error) {
	log := slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := untilSignal(log)
	defer stop()
	db, err := shareDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	a, stopApp, err := startApp(ctx, cfg, db.store, log)
	if err != nil {
		return err
	}
	defer stopApp()
	return f(ctx, a)
}

// createUser makes an account.
func createUser(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	account := auth.NewAccount{}
	admin := fs.Bool("admin", false, "make an owner of the organisation, who may do everything in it")
	fs.StringVar(&account.DisplayName, "display-name", "", "the `NAME` that others see")
	fromStdin := fs.Bool("password-stdin", false, "read the password from the standard input; without it one is made up and printed")
	operands, cfg, err := c.parseWithConfig(fs, &from, 1)
	if err != nil {
		return err
	}
	if *admin {
		account.Role = httpapi.RoleOwner
	}
	if account.Localpart, account.Domain, err = localUser(cfg, operands[0]); err != nil {
		return err
	}
	if account.Password, err = c.password(*fromStdin); err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		user, err := a.accounts.Create(ctx, account)
		if err != nil {
			return readable(err)
		}
		return c.report("made", user, account.Password, *fromStdin)
	})
}

// setPassword gives an account a new password and, unless told otherwise, signs its devices out.
func setPassword(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	fromStdin := fs.Bool("password-stdin", false, "read the password from the standard input; without it one is made up and printed")
	keep := fs.Bool("keep-sessions", false, "leave the user's devices signed in")
	operands, cfg, err := c.parseWithConfig(fs, &from, 1)
	if err != nil {
		return err
	}
	localpart, domain, err := localUser(cfg, operands[0])
	if err != nil {
		return err
	}
	user := matrix.UserID("@" + localpart + ":" + string(domain))
	password, err := c.password(*fromStdin)
	if err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		account, err := a.store.GetUser(ctx, user)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no account %s", user)
		}
		if err != nil {
			return err
		}
		if account.Deactivated() {
			return fmt.Errorf("the account %s is closed for good", user)
		}
		if err := a.accounts.SetPassword(ctx, auth.NewPassword{User: user, Password: password, EndSessions: !*keep}); err != nil {
			return readable(err)
		}
		return c.report("changed", user, password, *fromStdin)
	})
}

// listUsers prints all accounts.
func listUsers(c *call) error {
	return c.onApp(0, func(ctx context.Context, a *app, _ []string) error {
		w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "USER\tCREATED\tNOTES")
		organisations, err := a.store.ListOrganisations(ctx)
		if err != nil {
			return err
		}
		for _, id := range organisations {
			if err := a.printUsers(ctx, w, id); err != nil {
				return err
			}
		}
		return w.Flush()
	})
}

func (a *app) printUsers(ctx context.Context, w io.Writer, organisation int64) error {
	for after := matrix.UserID(""); ; {
		users, err := a.store.ListUsers(ctx, organisation, after, listPage)
		if err != nil {
			return err
		}
		for _, u := range users {
			fmt.Fprintf(w, "%s\t%s\t%s\n", u.UserID, u.CreatedTS.Time().UTC().Format(time.DateOnly), notes(u))
			after = u.UserID
		}
		if len(users) < listPage {
			return nil
		}
	}
}

func notes(u store.User) string {
	var n []string
	for _, note := range []struct {
		text  string
		holds bool
	}{
		{u.Role, u.Role != ""}, {"guest", u.Guest}, {"locked", u.Locked}, {"suspended", u.Suspended}, {"closed", u.Deactivated()},
		{"no password", u.PasswordHash == "" && !u.Deactivated()},
	} {
		if note.holds {
			n = append(n, note.text)
		}
	}
	return strings.Join(n, ", ")
}

func (c *call) parseWithConfig(fs *flag.FlagSet, from *source, operands int) ([]string, *config.Config, error) {
	given, err := c.parse(fs, operands)
	if err != nil {
		return nil, nil, err
	}
	cfg, err := from.load(fs)
	return given, cfg, err
}

// localUser splits what was typed: alice, @alice or @alice:example.org. Whether the domain is hosted is seen by who asks the database.
func localUser(cfg *config.Config, typed string) (localpart string, domain matrix.ServerName, err error) {
	localpart, rest, hasDomain := strings.Cut(strings.TrimPrefix(typed, "@"), ":")
	if !hasDomain {
		return localpart, hostedDomains(cfg)[0], nil
	}
	if domain, err = matrix.ParseServerName(rest); err != nil {
		return "", "", fmt.Errorf("%s is not a domain", rest)
	}
	return localpart, domain, nil
}

// password reads a password, or makes one up.
func (c *call) password(fromStdin bool) (string, error) {
	if !fromStdin {
		return admin.NewPassword(), nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.stdin, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return "", errors.New("the standard input has no password")
	}
	return password, nil
}

func (c *call) report(done string, user matrix.UserID, password string, known bool) error {
	if known {
		_, err := fmt.Fprintf(c.stdout, "%s %s\n", done, user)
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s, password %s\n", done, user, password)
	return err
}

// readable says what a client would have been told, without the code.
func readable(err error) error {
	if e, ok := matrix.AsError(err); ok {
		return errors.New(e.Message)
	}
	return err
}
