// Roomline is a Matrix homeserver: one binary, any number of identical processes on one PostgreSQL database.
//
// This package is the command line and the wiring, and nothing else: flags and configuration (flags.go), the order of starting
// and stopping (serve.go), what is connected to what (wire.go). Every other package gets what it needs from New.
//
// Start reading at serve.go.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/store"
)

// command is a subcommand. name may have two words. Without a summary it is not for people: the program calls itself by it.
type command struct {
	name, arguments, summary string
	run                      func(c *call) error
}

func commands() []command {
	return []command{
		{"serve", "--config FILE | --dev [--data DIR] [--listen ADDR] [--server-name NAME]", "run the server", serve},
		{"user create", "[--admin] [--display-name NAME] [--password-stdin] USER", "make an account", createUser},
		{"user password", "[--password-stdin] [--keep-sessions] USER", "give an account a new password", setPassword},
		{"user list", "", "list the accounts", listUsers},
		{"org create", "[--region CC] [--max-people N] [--owner NAME] [--password-stdin] NAME DOMAIN", "make an organisation with its domain and its first owner", createOrganisation},
		{"org list", "", "list the organisations", listOrganisations},
		{"org show", "ORG", "print an organisation, its domains and who has a role in it", showOrganisation},
		{"org change", "[--name NAME] [--region CC] [--max-people N] ORG", "change an organisation", changeOrganisation},
		{"org domain", "[--base-url URL] ORG DOMAIN", "give an organisation one more domain", addDomain},
		{"org role", "ORG USER ROLE", "give a member a role: owner, people, auditor, or none", setRole},
		{"org suspend", "ORG", "lock an organisation out", setOrganisation(store.OrganisationSuspended)},
		{"org resume", "ORG", "let a suspended organisation in again", setOrganisation(store.OrganisationActive)},
		{"org delete", "--yes ORG", "delete an organisation with everything in it, for good", setOrganisation(store.OrganisationDeleted)},
		{"audit export", "ORG", "print the audit log of an organisation, a JSON object a line", exportAudit},
		{"audit verify", "[--file FILE] ORG", "say whether an audit log, or an export of one, is whole", verifyAudit},
		{"link list", "--organisation DOMAIN", "list the links of an organisation with others", listLinks},
		{"link propose", "--organisation DOMAIN [--gives LIST] OTHER", "propose a link to the organisation that has the domain OTHER", proposeLink},
		{"link accept", "--organisation DOMAIN [--gives LIST] LINK", "accept a link that another organisation proposes", acceptLink},
		{"link refuse", "--organisation DOMAIN LINK", "refuse a link that another organisation proposes", refuseLink},
		{"link gives", "--organisation DOMAIN [--gives LIST] LINK", "change what an organisation gives to a linked one", putLinkGives},
		{"link revoke", "--organisation DOMAIN LINK", "end a link, or take a proposal back", revokeLink},
		{"invite", "--room ROOM --as USER [--language LL] [--for DURATION] ADDRESS | --link [--uses N]", "ask somebody outside into a room: by e-mail, by phone, or by a link", invite},
		{"meeting create", "--as USER --title TITLE --start TIME --end TIME [--timezone ZONE] [--recurrence RRULE] [--link] [--invite WHOM]...", "arrange a meeting", createMeeting},
		{"meeting list", "--organisation DOMAIN [--past]", "list the meetings of an organisation", listMeetings},
		{"meeting cancel", "MEETING", "cancel a meeting: calendars are told, guests end", cancelMeeting},
		{"database restored", "", "say that the database was put back from a copy of its files", databaseRestored},
		{"media check", "[--hash]", "compare the database and the media store", checkMedia},
		{"media repair", "[--hash] [--all]", "remove what nobody needs, and give up what is lost", repairMedia},
		{"appservice add", "FILE", "register an application service; - reads the standard input", addAppservice},
		{"appservice list", "", "list the application services, and how far they have been told", listAppservices},
		{"appservice remove", "ID", "end an application service", removeAppservice},
		{"telephony registration", "[--url URL]", "print a registration for roomline-telephony, the telephony bridge as a program of its own", telephonyRegistration},
		{"routes", "", "list every path that the server answers, and who may ask", listRoutes},
		{"config check", "FILE", "say whether a configuration file is right, and what is wrong with it", checkConfig},
		{"config example", "", "print a documented configuration file", printExample},
		{"version", "", "print the version", printVersion},
		{"livekit", "", "", runLiveKit},
	}
}

// call is one invocation of a command.
type call struct {
	command
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() {
	// Nobody reads the profile of allocations, which takes a traceback for every 512 KB.
	runtime.MemProfileRate = 0
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errUsage ends the program with exit code 2; what was wrong has been said.
var errUsage = errors.New("usage")

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		printUsage(stdout)
		return 0
	}
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(args) < len(words) || !slices.Equal(args[:len(words)], words) {
			continue
		}
		err := c.run(&call{command: c, args: args[len(words):], stdin: stdin, stdout: stdout, stderr: stderr})
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		default:
			fmt.Fprintln(stderr, "roomline:", err)
			return 1
		}
	}
	fmt.Fprintf(stderr, "roomline: there is no command %q\n\n", strings.Join(args, " "))
	printUsage(stderr)
	return 2
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "Roomline is a Matrix homeserver.\n\nusage:\n")
	for _, c := range commands() {
		if c.summary != "" {
			fmt.Fprintf(w, "  roomline %-17s %s\n", c.name, c.summary)
		}
	}
	fmt.Fprint(w, "\nTo try it out:            roomline serve --dev\nHelp on a command:        roomline COMMAND --help\n")
}

// flags returns an empty flag set with a help text.
func (c *call) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.stderr)
	fs.Usage = func() {
		fmt.Fprintf(c.stderr, "roomline %s: %s\n\nusage: roomline %s %s\n", c.name, c.summary, c.name, c.arguments)
		fs.PrintDefaults()
	}
	return fs
}

// parse reads the flags, which may stand before, between and after the operands. It returns the operands, of which there
// have to be as many as wanted.
func (c *call) parse(fs *flag.FlagSet, wanted int) ([]string, error) {
	var operands []string
	rest := c.args
	for {
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, errUsage
		}
		if fs.NArg() == 0 {
			break
		}
		operands = append(operands, fs.Arg(0))
		rest = fs.Args()[1:]
	}
	if len(operands) != wanted {
		fmt.Fprintf(c.stderr, "roomline %s: %d arguments, not %d\n", c.name, len(operands), wanted)
		fs.Usage()
		return nil, errUsage
	}
	return operands, nil
}

// specVersion is the version of the Matrix specification that this program follows.
const specVersion = "v1.19"

func printVersion(c *call) error {
	if _, err := c.parse(c.flags(), 0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "roomline %s, Matrix %s, %s\n", version(), specVersion, runtime.Version())
	return err
}

// version is what the go tool wrote into the binary about the source that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	setting := func(key string) string {
		for _, s := range info.Settings {
			if s.Key == key {
				return s.Value
			}
		}
		return ""
	}
	v := info.Main.Version
	if revision := setting("vcs.revision"); v == "(devel)" && revision != "" {
		v += " " + revision
		if setting("vcs.modified") == "true" {
			v += " with changes"
		}
	}
	return v
}
