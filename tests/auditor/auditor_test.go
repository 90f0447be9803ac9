package auditor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorded is a history without a fault: two writers who take turns, and two views.
func recorded() ([]Write, []View) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var writes []Write
	var events []Event
	for i := range 20 {
		asked := began.Add(time.Duration(i) * 10 * time.Millisecond)
		w := Write{
			Room: "!r", Mark: fmt.Sprintf("w%d-%d", i%2, i/2), EventID: fmt.Sprintf("$%d", i),
			Asked: asked, Acknowledged: asked.Add(8 * time.Millisecond),
		}
		writes = append(writes, w)
		events = append(events, Event{ID: w.EventID, Mark: w.Mark})
	}
	return writes, []View{
		{Name: "reader", Room: "!r", Events: events},
		{Name: "watcher", Room: "!r", Events: slices.Clone(events)},
	}
}

func TestGoodHistoryPasses(t *testing.T) {
	writes, views := recorded()
	if problems := Check(writes, views); len(problems) > 0 {
		t.Fatalf("a good history has problems: %q", problems)
	}
}

// Writes that overlap in time may be stored in either order.
func TestConcurrentWritesMayComeInEitherOrder(t *testing.T) {
	writes, views := recorded()
	writes[5].Asked = writes[4].Asked
	for i := range views {
		e := views[i].Events
		e[4], e[5] = e[5], e[4]
	}
	if problems := Check(writes, views); len(problems) > 0 {
		t.Fatalf("concurrent writes in the other order are a problem: %q", problems)
	}
}

// A write whose acknowledgement is still on its way may be seen already.
func TestUnacknowledgedWriteMayBeSeen(t *testing.T) {
	writes, views := recorded()
	writes = append(writes[:7], writes[8:]...)
	if problems := Check(writes, views); len(problems) > 0 {
		t.Fatalf("an unacknowledged write is a problem: %q", problems)
	}
}

func TestFaultsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(writes *[]Write, views []View)
		want  string
	}{
		"lost for everybody": {func(_ *[]Write, views []View) {
			for i := range views {
				views[i].Events = slices.Delete(views[i].Events, 7, 8)
			}
		}, "is missing"},
		"lost for the watcher": {func(_ *[]Write, views []View) {
			views[1].Events = slices.Delete(views[1].Events, 7, 8)
		}, "watcher: acknowledged event $7"},
		"lost at the end": {func(_ *[]Write, views []View) {
			views[1].Events = views[1].Events[:19]
		}, "watcher: acknowledged event $19"},
		"told twice": {func(_ *[]Write, views []View) {
			views[1].Events = slices.Insert(views[1].Events, 9, views[1].Events[7])
		}, "comes 2 times"},
		"done twice": {func(_ *[]Write, views []View) {
			for i := range views {
				views[i].Events = append(views[i].Events, Event{ID: "$again", Mark: "w1-3"})
			}
		}, "was done twice"},
		"reordered for everybody": {func(_ *[]Write, views []View) {
			for i := range views {
				e := views[i].Events
				e[4], e[5] = e[5], e[4]
			}
		}, "w0-2 comes after w1-2"},
		"moved far back": {func(_ *[]Write, views []View) {
			for i := range views {
				e := views[i].Events[2]
				views[i].Events = append(slices.Delete(views[i].Events, 2, 3), e)
			}
		}, "w0-1 comes after w1-9"},
		"another order for the watcher": {func(writes *[]Write, views []View) {
			(*writes)[5].Asked = (*writes)[4].Asked
			e := views[1].Events
			e[4], e[5] = e[5], e[4]
		}, "differ from event 4 on"},
		"one event for two writes": {func(writes *[]Write, _ []View) {
			(*writes)[3].EventID = (*writes)[2].EventID
		}, "was given to the writes"},
		"two events for one write": {func(writes *[]Write, _ []View) {
			w := (*writes)[3]
			w.EventID = "$other"
			*writes = append(*writes, w)
		}, "was given the events"},
		"nobody looked": {func(writes *[]Write, _ []View) {
			(*writes)[3].Room = "!other"
		}, "nobody looked"},
	} {
		t.Run(name, func(t *testing.T) {
			writes, views := recorded()
			c.spoil(&writes, views)
			problems := Check(writes, views)
			if !strings.Contains(strings.Join(problems, "\n"), c.want) {
				t.Fatalf("got %q, want a problem with %q", problems, c.want)
			}
		})
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	var writes []Write
	for i := range 1000 {
		writes = append(writes, Write{Room: "!r", EventID: fmt.Sprint(i), Mark: fmt.Sprint(i)})
	}
	problems := Check(writes, []View{{Name: "reader", Room: "!r"}})
	if len(problems) != maxProblems+1 || problems[maxProblems] != "and 960 more" {
		t.Fatalf("got %d problems ending with %q", len(problems), problems[len(problems)-1])
	}
}
