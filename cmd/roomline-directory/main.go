// Command roomline-directory is the directory bridge. It runs at a customer's, beside LDAP, an Active Directory or files of people, and
// keeps the organisation's accounts as they are there. See docs/directory-bridge.md.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"maunium.net/go/mautrix/appservice"

	"github.com/roomline/roomline/appservices/directory"
)

//go:embed example.yaml
var example string

const usage = `usage: roomline-directory COMMAND --config FILE

  run            keep the accounts as the source has them, until stopped
  sync           do it once; --dry-run shows what would be done, --full compares everything,
                 --accept-leavers N lets N people leave at once although the guard would stop
  check          try the source and the homeserver
  example        print a configuration
  registration   --domain DOMAIN: print a new registration, for the administrator and for the bridge
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 0 for success, 1 for a failure, 2 for a wrong command, 3 when the guard stopped, 4 when something failed for
// some people.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return 2
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { fmt.Fprint(errs, usage) }
	file := flags.String("config", "directory.yaml", "")
	domain := flags.String("domain", "", "")
	var options directory.Options
	flags.BoolVar(&options.DryRun, "dry-run", false, "")
	flags.BoolVar(&options.Full, "full", false, "")
	flags.IntVar(&options.AcceptLeavers, "accept-leavers", 0, "")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 {
		return 2
	}
	switch args[0] {
	case "example":
		fmt.Fprint(out, example)
		return 0
	case "registration":
		return registration(*domain, out, errs)
	case "run", "sync", "check":
	default:
		fmt.Fprint(errs, usage)
		return 2
	}
	c, err := directory.ReadConfig(*file)
	if err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	b, err := directory.New(c, slog.New(slog.NewTextHandler(errs, nil)), progress(errs))
	if err == nil {
		err = do(ctx, b, args[0], options, out)
	}
	return exitCode(err, errs)
}

// errSome is that something went wrong with some people, which the summary has named.
var errSome = errors.New("not everybody could be carried over")

func do(ctx context.Context, b *directory.Bridge, command string, options directory.Options, out io.Writer) error {
	switch command {
	case "check":
		if err := b.Check(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out, "The source and the homeserver answer.")
		return nil
	case "run":
		b.Run(ctx)
		return nil
	}
	done, err := b.Sync(ctx, options)
	var shrunk *directory.ShrunkError
	switch {
	case errors.As(err, &shrunk):
		done.Plan.Print(out)
		return err
	case err != nil:
		return err
	case options.DryRun:
		done.Plan.Print(out)
		return nil
	}
	done.Print(out)
	if len(done.Failed) > 0 {
		return errSome
	}
	return nil
}

func exitCode(err error, errs io.Writer) int {
	var shrunk *directory.ShrunkError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &shrunk):
		fmt.Fprintln(errs, err)
		return 3
	case errors.Is(err, errSome):
		return 4
	}
	fmt.Fprintln(errs, err)
	return 1
}

// progress shows a line that grows, on a terminal; elsewhere the summary has to do.
func progress(w io.Writer) func(string, int, int) {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(what string, done, of int) {
		fmt.Fprintf(w, "\r%s: %d of %d   ", what, done, of)
		if done == of {
			fmt.Fprintln(w)
		}
	}
}

// registration prints one with new tokens. It takes part in no rooms and wants to be told nothing.
func registration(domain string, out, errs io.Writer) int {
	if domain == "" {
		fmt.Fprintln(errs, "--domain is missing")
		return 2
	}
	r := appservice.CreateRegistration()
	fmt.Fprintf(out, `id: directory
url: null
as_token: %s
hs_token: %s
sender_localpart: directory
rate_limited: false
namespaces:
  users: []
  aliases: [{exclusive: true, regex: '#directory_.*:%s'}]
  rooms: []
roomline:
  organisation: %s
  grants: [people]
`, r.AppToken, r.ServerToken, regexp.QuoteMeta(domain), domain)
	return 0
}
