package directory

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Plan is what has to be done so that the homeserver has what the source says.
type Plan struct {
	Create, Update, Reactivate []Person
	// Lock are accounts whose people are gone, Erase those that were locked for as long as the configuration says.
	Lock, Erase []string
	// Groups are new or have changed; DropGroups are gone.
	Groups     []Group
	DropGroups []string
	// Known is how many people were active before.
	Known int
	// Skipped are people who cannot have an account, with the reason.
	Skipped []Skipped

	// all are all groups, with the members that will be active.
	all []Group
}

// Skipped is somebody who gets no account.
type Skipped struct{ ID, Reason string }

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool {
	return len(p.Create)+len(p.Update)+len(p.Reactivate)+len(p.Lock)+len(p.Erase)+len(p.Groups)+len(p.DropGroups) == 0
}

// ShrunkError says that more people are gone than is likely. Nothing was changed.
type ShrunkError struct{ Leavers, Known int }

func (e *ShrunkError) Error() string {
	return fmt.Sprintf("the source has lost %d of %d people; nothing was changed. If they really left: roomline-directory sync --accept-leavers %d", e.Leavers, e.Known, e.Leavers)
}

// plan compares a snapshot with what the homeserver has.
func (s *state) plan(snapshot Snapshot, now time.Time, c *Config) Plan {
	var p Plan
	present := make(map[string]bool, len(snapshot.Present))
	for _, id := range snapshot.Present {
		present[id] = true
	}
	for _, person := range snapshot.People {
		person.tidy()
		has := s.People[person.ID]
		switch {
		case has == nil && !person.Active:
			// Whoever is locked already when they are first seen needs no account.
		case has == nil && person.Localpart == "":
			p.Skipped = append(p.Skipped, Skipped{person.ID, "there is no user name that can stand in a user id"})
		case has == nil:
			p.Create = append(p.Create, person)
		case !has.Active && person.Active:
			p.Reactivate = append(p.Reactivate, person)
		case has.Hash != person.hash():
			p.Update = append(p.Update, person)
		}
		if has != nil && has.Active && !person.Active {
			p.Lock = append(p.Lock, person.ID)
		}
	}
	// One that is locked is told by the lock alone.
	p.Update = slices.DeleteFunc(p.Update, func(person Person) bool { return !person.Active })
	for _, id := range sortedKeys(s.People) {
		has := s.People[id]
		if has.Active {
			p.Known++
		}
		switch {
		case present[id]:
		case has.Active:
			p.Lock = append(p.Lock, id)
		case c.Leavers.EraseAfterDays > 0 && has.Left != nil && now.Sub(*has.Left) >= time.Duration(c.Leavers.EraseAfterDays)*24*time.Hour:
			p.Erase = append(p.Erase, id)
		}
	}
	p.planGroups(s, snapshot.Groups, c)
	return p
}

// willBeActive returns who may sign in when the plan has been carried out.
func (p *Plan) willBeActive(s *state) map[string]bool {
	active := make(map[string]bool, len(s.People)+len(p.Create))
	for id, a := range s.People {
		active[id] = a.Active
	}
	for _, list := range [][]Person{p.Create, p.Reactivate} {
		for _, person := range list {
			active[person.ID] = true
		}
	}
	for _, id := range p.Lock {
		active[id] = false
	}
	return active
}

func (p *Plan) planGroups(s *state, groups []Group, c *Config) {
	if groups == nil {
		return
	}
	active := p.willBeActive(s)
	there := map[string]bool{}
	for _, g := range groups {
		there[g.ID] = true
		g.Members = slices.DeleteFunc(slices.Clone(g.Members), func(id string) bool { return !active[id] })
		p.all = append(p.all, g)
		if has := s.Groups[g.ID]; has == nil || has.Hash != g.hash(c.roomOf(&g)) {
			p.Groups = append(p.Groups, g)
		}
	}
	for _, id := range sortedKeys(s.Groups) {
		if !there[id] {
			p.DropGroups = append(p.DropGroups, id)
		}
	}
}

// guard refuses a plan by which too many leave. accepted is how many somebody has said is meant.
func (p *Plan) guard(g Guard, accepted int) error {
	leavers := len(p.Lock) + len(p.Erase)
	if leavers == 0 || leavers <= accepted || g.allows(leavers, p.Known) {
		return nil
	}
	return &ShrunkError{leavers, p.Known}
}

// levels orders people so that everybody's manager comes in an earlier level, as far as managers are among them. People who manage
// each other in a circle come last.
func levels(people []Person) [][]Person {
	waiting := make(map[string]bool, len(people))
	for _, p := range people {
		waiting[p.ID] = true
	}
	var all [][]Person
	for len(people) > 0 {
		var level, rest []Person
		for _, p := range people {
			if p.Manager != p.ID && waiting[p.Manager] {
				rest = append(rest, p)
			} else {
				level = append(level, p)
			}
		}
		if len(level) == 0 {
			level, rest = rest, nil
		}
		for _, p := range level {
			delete(waiting, p.ID)
		}
		all, people = append(all, level), rest
	}
	return all
}

// shown is how many of each kind a dry run names.
const shown = 20

// Print says what would be done, in words.
func (p *Plan) Print(w io.Writer) {
	if p.Empty() && len(p.Skipped) == 0 {
		fmt.Fprintln(w, "Nothing to do.")
		return
	}
	people := func(title string, list []Person) {
		names := make([]string, len(list))
		for i, person := range list {
			names[i] = fmt.Sprintf("%s (%s)", cmp.Or(person.Name, person.Localpart), person.Localpart)
		}
		printSome(w, title, names)
	}
	people("Accounts to make", p.Create)
	people("Accounts to change", p.Update)
	people("Accounts to unlock", p.Reactivate)
	printSome(w, "Accounts to lock, whose people left or may not sign in", p.Lock)
	printSome(w, "Accounts to erase", p.Erase)
	groups := make([]string, len(p.Groups))
	for i, g := range p.Groups {
		groups[i] = fmt.Sprintf("%s (%d members)", g.Name, len(g.Members))
	}
	printSome(w, "Groups that are new or changed", groups)
	printSome(w, "Groups that are gone", p.DropGroups)
	skipped := make([]string, len(p.Skipped))
	for i, s := range p.Skipped {
		skipped[i] = s.ID + ": " + s.Reason
	}
	printSome(w, "Left out", skipped)
}

func printSome(w io.Writer, title string, names []string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(w, "%s: %d\n", title, len(names))
	for _, name := range names[:min(len(names), shown)] {
		fmt.Fprintf(w, "  %s\n", strings.Map(printable, name))
	}
	if more := len(names) - shown; more > 0 {
		fmt.Fprintf(w, "  … and %d more\n", more)
	}
}

// printable keeps what a directory says from commanding a terminal.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return '?'
	}
	return r
}
