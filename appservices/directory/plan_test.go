package directory

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func people(n int) (list []Person) {
	for i := range n {
		list = append(list, Person{ID: fmt.Sprint("id", i), Localpart: fmt.Sprint("user", i), Name: fmt.Sprint("Name ", i), Active: true})
	}
	return list
}

func snapshotOf(list []Person) Snapshot {
	s := Snapshot{People: list}
	for _, p := range list {
		s.Present = append(s.Present, p.ID)
	}
	return s
}

// carried is a state in which the homeserver has the people.
func carried(list []Person) *state {
	s := newState("test")
	for _, p := range list {
		p.tidy()
		s.People[p.ID] = &account{SCIM: "scim-" + p.ID, Hash: p.hash(), Active: p.Active}
	}
	return s
}

func ids(list []Person) (all []string) {
	for _, p := range list {
		all = append(all, p.ID)
	}
	return all
}

func TestPlanHasEachPersonOnce(t *testing.T) {
	before := people(6)
	before[5].Active = false
	s := carried(before)
	gone := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.People["long gone"] = &account{SCIM: "x", Left: &gone}

	now := people(8)[:7]              // id6 is new
	now = append(now[:1], now[2:]...) // id1 has left
	now[1].Title = "Chief"            // id2 has changed
	now[2].Active = false             // id3 may not sign in
	now[4].Active = true              // id5 may again
	c := &Config{}
	c.Leavers.EraseAfterDays = 30
	p := s.plan(snapshotOf(now), gone.Add(31*24*time.Hour), c)
	for what, got := range map[string][2][]string{
		"create": {ids(p.Create), {"id6"}}, "update": {ids(p.Update), {"id2"}}, "reactivate": {ids(p.Reactivate), {"id5"}},
		"lock": {p.Lock, {"id3", "id1"}}, "erase": {p.Erase, {"long gone"}},
	} {
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	if p.Known != 5 {
		t.Errorf("%d were known", p.Known)
	}
	if again := carried(now).plan(snapshotOf(now), gone, c); !again.Empty() {
		t.Errorf("what was carried over is planned again: %+v", again)
	}
}

func TestGuardStopsWhenTooManyLeave(t *testing.T) {
	guard := Guard{Percent: 10, Always: 3}
	for _, test := range []struct {
		known, left, accepted int
		stops                 bool
	}{
		{100, 10, 0, false}, {100, 11, 0, true}, {100, 11, 11, false}, {100, 12, 11, true}, {10, 3, 0, false}, {10, 4, 0, true},
		{2, 2, 0, true}, {1, 1, 0, true}, {5000, 5000, 0, true}, {1, 1, 1, false},
	} {
		all := people(test.known)
		p := carried(all).plan(snapshotOf(all[test.left:]), time.Now(), &Config{})
		err := p.guard(guard, test.accepted)
		var shrunk *ShrunkError
		if errors.As(err, &shrunk) != test.stops {
			t.Errorf("%+v: %v", test, err)
		}
		if test.stops && (shrunk.Leavers != test.left || shrunk.Known != test.known) {
			t.Errorf("%+v: says %v", test, err)
		}
	}
}

func TestGroupsFollowWhoIsActive(t *testing.T) {
	all := people(3)
	s, c := carried(all), &Config{}
	snapshot := snapshotOf(all)
	snapshot.Groups = []Group{{ID: "g", Name: "Team", Members: []string{"id0", "id1", "nobody"}}}
	p := s.plan(snapshot, time.Now(), c)
	if len(p.Groups) != 1 || !reflect.DeepEqual(p.Groups[0].Members, []string{"id0", "id1"}) {
		t.Fatalf("planned %+v", p.Groups)
	}
	s.Groups["g"] = &room{Hash: p.Groups[0].hash(nil)}
	if p := s.plan(snapshot, time.Now(), c); !p.Empty() {
		t.Errorf("the group is planned again: %+v", p)
	}
	snapshot.People[1].Active = false
	if p := s.plan(snapshot, time.Now(), c); len(p.Groups) != 1 || !reflect.DeepEqual(p.Groups[0].Members, []string{"id0"}) {
		t.Errorf("a member who is locked stays: %+v", p.Groups)
	}
	snapshot.Groups = nil
	if p := s.plan(snapshot, time.Now(), c); len(p.DropGroups) != 0 {
		t.Error("a source without groups drops groups")
	}
	snapshot.Groups = []Group{}
	if p := s.plan(snapshot, time.Now(), c); !reflect.DeepEqual(p.DropGroups, []string{"g"}) {
		t.Errorf("a group that is gone stays: %+v", p)
	}
}

func TestManagersComeFirst(t *testing.T) {
	list := people(5)
	list[0].Manager, list[1].Manager, list[2].Manager = "id1", "id2", "somebody else"
	list[3].Manager, list[4].Manager = "id4", "id3" // a circle
	var got [][]string
	for _, level := range levels(list) {
		got = append(got, ids(level))
	}
	if want := [][]string{{"id2"}, {"id1"}, {"id0"}, {"id3", "id4"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("levels %v, want %v", got, want)
	}
}

func TestTidy(t *testing.T) {
	p := Person{
		Localpart: "  Jörg.Müßig@Company.example ", GivenName: "Jörg", FamilyName: " Müßig  Sohn ", Photo: []byte("<svg/>"),
		Emails: []Address{{" J@X.test", "work"}, {"j@x.test", ""}, {"", "work"}},
	}
	p.tidy()
	want := Person{
		Localpart: "jorg.mussig", Name: "Jörg Müßig Sohn", GivenName: "Jörg", FamilyName: "Müßig Sohn", Emails: []Address{{"j@x.test", "work"}},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("%+v, want %+v", p, want)
	}
	if got := localpart("山田"); got != "" {
		t.Errorf("a name without a letter that user ids have became %q", got)
	}
}

func TestPrintedPlanCommandsNoTerminal(t *testing.T) {
	p := Plan{Create: []Person{{Name: "\x1b]0;evil\x07", Localpart: "a"}}}
	var out strings.Builder
	p.Print(&out)
	if strings.ContainsAny(out.String(), "\x1b\x07") || !strings.Contains(out.String(), "evil") {
		t.Errorf("printed %q", out.String())
	}
}
