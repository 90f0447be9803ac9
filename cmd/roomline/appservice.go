package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/internal/limits"
)

// addAppservice registers an application service. Every process knows it within a second.
func addAppservice(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	operands, cfg, err := c.parseWithConfig(fs, &from, 1)
	if err != nil {
		return err
	}
	text, err := c.registration(operands[0])
	if err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		as, tokens, err := a.appservices.Register(ctx, appservices.AtTheMachine, text)
		if err != nil {
			return readable(err)
		}
		fmt.Fprintf(c.stdout, "registered %s, which acts as %s\n", as.ID, as.Sender)
		for _, token := range []struct{ name, value string }{{"as_token", tokens.AS}, {"hs_token", tokens.HS}} {
			if token.value != "" {
				fmt.Fprintf(c.stdout, "%s: %s\n", token.name, token.value)
			}
		}
		return nil
	})
}

// registration reads a registration from a file, or from the standard input for "-".
func (c *call) registration(file string) ([]byte, error) {
	in := c.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, limits.RegistrationFile+1))
	if err == nil && len(text) > limits.RegistrationFile {
		err = fmt.Errorf("the registration has more than %d bytes", limits.RegistrationFile)
	}
	return text, err
}

// listAppservices prints all application services.
func listAppservices(c *call) error {
	return c.onApp(0, func(ctx context.Context, a *app, _ []string) error {
		list, err := a.appservices.Describe(ctx, appservices.AtTheMachine, a.appservices.List(appservices.AtTheMachine))
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tUSER\tORGANISATION\tFROM\tURL\tDELIVERY")
		for _, as := range list {
			state := "-"
			if d := as.Delivery; d != nil {
				state = fmt.Sprintf("%d transactions, %d behind", d.Transactions, d.Behind)
				if d.Failures > 0 {
					state += fmt.Sprintf(", %d failures: %s", d.Failures, d.LastError)
				}
			}
			organisation := fmt.Sprint(as.OrganisationID)
			if as.Everywhere {
				organisation = "all"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", as.ID, as.UserID, organisation, as.Source, as.URL, state)
		}
		return w.Flush()
	})
}

// removeAppservice ends an application service.
func removeAppservice(c *call) error {
	return c.onApp(1, func(ctx context.Context, a *app, operands []string) error {
		if err := a.appservices.Remove(ctx, appservices.AtTheMachine, operands[0]); err != nil {
			return readable(err)
		}
		_, err := fmt.Fprintf(c.stdout, "removed %s\n", operands[0])
		return err
	})
}
