package tests

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// Who has written in a thread has read it, also if nobody looked at the message before it was redacted.
func TestSendingReadsAThreadWhateverBecomesOfTheMessage(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Configure: func(_ int, config map[string]any) {
		config["deletion"] = map[string]any{"text": "sender"}
	}})
	room, users := publicRoom(t, dep, 2)
	alice, bob := users[0], users[1]
	db := storetest.DB(t, dep.DSN)
	held, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(`SELECT FROM push_progress FOR UPDATE`); err != nil { // push looks at nothing that comes now
		t.Fatal(err)
	}
	root := alice.MustSendText(t, room, "root")
	inThread := map[string]any{"msgtype": "m.text", "body": "reply", "m.relates_to": map[string]any{"rel_type": "m.thread", "event_id": root}}
	alice.MustSend(t, room, "m.room.message", inThread)
	reply := bob.MustSend(t, room, "m.room.message", inThread)
	last := bob.MustDo(t, http.MethodPut, hstest.Path("rooms", room, "redact", reply, bob.TxnID()), map[string]any{}).Get("event_id").String()
	if got := syncedCounts(t, bob, room); got != "main 0/0" {
		t.Errorf("%s", got)
	}
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}
	hstest.Eventually(t, "the looking at what was said", func() bool {
		var come bool
		err := db.QueryRow(`SELECT p.position >= e.position FROM push_progress p, events e WHERE e.event_id = $1`, last).Scan(&come)
		return err == nil && come
	})
	dep.Kill9(t, 0)
	dep.Restart(t, 0)
	if got := syncedCounts(t, bob, room); got != "main 0/0" {
		t.Errorf("in a process that has seen nothing of it: %s", got)
	}
}

var seed = flag.Uint64("seed", 0, "seed of what is done at random; 0 takes the time")

// said is an event as the model of unread counts has it.
type said struct {
	id, sender, thread string
	// highlight is the user who is mentioned.
	highlight        string
	notify, redacted bool
}

// unreadModel counts what is unread slowly: it looks at every event each time.
type unreadModel struct {
	events []said
	// read is up to which event users have read, by user and "" for everything or "main" or a thread.
	read map[string]map[string]int
}

func (m *unreadModel) counts(user string) string {
	own := map[string]int{}
	for i, e := range m.events {
		if e.sender == user {
			own[e.thread] = i + 1
		}
	}
	notifications, highlights := map[string]int{}, map[string]int{}
	for i, e := range m.events {
		at := i + 1
		if e.sender == user || e.redacted || !e.notify || at <= own[e.thread] || at <= m.read[user][""] || at <= m.read[user][e.thread] {
			continue
		}
		notifications[e.thread]++
		if e.highlight == user {
			highlights[e.thread]++
		}
	}
	text := fmt.Sprintf("main %d/%d", notifications["main"], highlights["main"])
	for _, thread := range slices.Sorted(maps.Keys(notifications)) {
		if thread != "main" {
			text += fmt.Sprintf(", %s %d/%d", thread, notifications[thread], highlights[thread])
		}
	}
	return text
}

// syncedCounts is what sync says, in the words of the model.
func syncedCounts(t *testing.T, u *hstest.User, room string) string {
	t.Helper()
	r := u.MustDo(t, http.MethodGet, hstest.Path("sync")+"?filter="+url.QueryEscape(
		`{"room":{"timeline":{"limit":1,"unread_thread_notifications":true}}}`), nil).Get("rooms.join." + gjson.Escape(room))
	count := func(c gjson.Result) string {
		return fmt.Sprintf("%d/%d", c.Get("notification_count").Int(), c.Get("highlight_count").Int())
	}
	text := "main " + count(r.Get("unread_notifications"))
	threads := r.Get("unread_thread_notifications").Map()
	for _, thread := range slices.Sorted(maps.Keys(threads)) {
		text += ", " + thread + " " + count(threads[thread])
	}
	return text
}

// TestUnreadCountsAreAsTheModelSays has people write, reply in threads, redact and read on several devices and two processes.
func TestUnreadCountsAreAsTheModelSays(t *testing.T) {
	t.Parallel()
	number := *seed
	if number == 0 {
		number = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", number)
	rnd := rand.New(rand.NewPCG(number, 3))
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, config map[string]any) {
		config["deletion"] = map[string]any{"text": "sender"}
	}})
	room, users := publicRoom(t, dep, 3)
	devices := map[string][]*hstest.User{}
	for _, u := range users {
		devices[u.ID] = []*hstest.User{u, u.NewSession(t)}
	}
	m := &unreadModel{read: map[string]map[string]int{}}
	for _, u := range users {
		m.read[u.ID] = map[string]int{}
	}
	device := func() *hstest.User { return devices[users[rnd.IntN(3)].ID][rnd.IntN(2)].On(rnd.IntN(2)) }
	write := func(u *hstest.User, content map[string]any, e said) {
		content["body"] = "text"
		if _, ok := content["msgtype"]; !ok {
			content["msgtype"] = "m.text"
		}
		e.id, e.sender = u.MustSend(t, room, "m.room.message", content), u.ID
		m.events = append(m.events, e)
	}
	for step := range times(150, 2000) {
		u := device()
		var pick int
		if len(m.events) > 0 {
			pick = len(m.events) - 1 - rnd.IntN(min(len(m.events), 40))
		}
		switch n := rnd.IntN(20); {
		case n < 6 || len(m.events) == 0:
			write(u, map[string]any{}, said{thread: "main", notify: true})
		case n == 6:
			write(u, map[string]any{"msgtype": "m.notice"}, said{thread: "main"})
		case n < 9:
			of := users[rnd.IntN(3)].ID
			write(u, map[string]any{"m.mentions": map[string]any{"user_ids": []string{of}}}, said{thread: "main", notify: true, highlight: of})
		case n < 13:
			root := m.events[pick]
			if root.redacted {
				continue
			}
			if root.thread == "main" {
				root.thread = root.id
			}
			write(u, map[string]any{"m.relates_to": map[string]any{"rel_type": "m.thread", "event_id": root.thread}},
				said{thread: root.thread, notify: true})
		case n == 13:
			e := &m.events[pick]
			if e.redacted || e.sender != u.ID {
				continue
			}
			id := u.MustDo(t, http.MethodPut, hstest.Path("rooms", room, "redact", e.id, u.TxnID()), map[string]any{}).Get("event_id").String()
			e.redacted = true
			m.events = append(m.events, said{id: id, sender: u.ID, thread: "main", redacted: true})
		default:
			e := m.events[pick]
			if e.redacted {
				continue
			}
			kind := []string{"m.read", "m.read.private"}[rnd.IntN(2)]
			thread, body := "", map[string]any{}
			if n < 18 {
				thread = e.thread
				body["thread_id"] = thread
			}
			read(t, u, room, kind, e.id, body)
			m.read[u.ID][thread] = max(m.read[u.ID][thread], pick+1)
		}
		if step%5 == 0 {
			for _, u := range users {
				for process := range 2 {
					want, got := m.counts(u.ID), ""
					for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
						if got = syncedCounts(t, devices[u.ID][process].On(process), room); got == want {
							break
						}
						if time.Now().After(end) {
							t.Fatalf("step %d, %s on process %d: %s, want %s", step, u.ID, process, got, want)
						}
					}
				}
			}
		}
	}
}
