package clientapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const aDevice = "/sendToDevice/org.example.note/"

// messages are the contents that wait for a device of the client's user.
func (c *client) queue(device string) []string {
	c.p.t.Helper()
	list, more, err := c.p.store.ListToDevice(c.p.t.Context(), matrix.UserID(c.user), matrix.DeviceID(device), -1, 1<<60, 1<<20, 1<<30)
	must(c.p.t, err)
	if more {
		c.p.t.Error("not all messages were listed")
	}
	var contents []string
	for i, m := range list {
		if i > 0 && m.Position <= list[i-1].Position {
			c.p.t.Error("the messages are not in order")
		}
		contents = append(contents, string(m.Content))
	}
	return contents
}

// with signs the client's user in on another device.
func (c *client) with(device string) *client {
	c.p.t.Helper()
	answer := c.p.login(c.user, object{"device_id": device})
	return &client{p: c.p, user: c.user, token: answer.text("access_token")}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestMessagesGoToTheDevicesThatTheyName(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice, bob := one.client("alice").with("A"), two.client("bob").with("B1")
	bob.with("B2")
	alice.ok("PUT", aDevice+"1", object{"messages": object{
		bob.user:             object{"B1": object{"n": 1, "org.matrix.msgid": "m1"}, "NOBODY": object{"n": 0}},
		alice.user:           object{"A": object{"n": 2}},
		"@nobody:one.test":   object{"*": object{}},
		"@far:elsewhere.org": object{"*": object{}},
		"nobody":             object{"*": object{}},
	}})
	equal(t, "B1", bob.queue("B1"), []string{`{"n":1,"org.matrix.msgid":"m1"}`})
	equal(t, "B2", bob.queue("B2"), []string{})
	equal(t, "A", alice.queue("A"), []string{`{"n":2}`})
	// The same transaction on another process: nothing is sent. Another device's transaction of that name is another one.
	alice.at(two).ok("PUT", aDevice+"1", object{"messages": object{bob.user: object{"*": object{"n": 3}}}})
	equal(t, "B2", bob.queue("B2"), []string{})
	bob.ok("PUT", aDevice+"1", object{"messages": object{bob.user: object{"*": object{"n": 4}, "B1": object{"n": 5}}}})
	equal(t, "B1", bob.queue("B1"), []string{`{"n":1,"org.matrix.msgid":"m1"}`, `{"n":5}`})
	equal(t, "B2", bob.queue("B2"), []string{`{"n":4}`})
	for _, body := range []string{`{"messages":{}}`, fmt.Sprintf(`{"messages":{%q:{}}}`, bob.user), fmt.Sprintf(`{"messages":{%q:null}}`, bob.user)} {
		alice.ok("PUT", aDevice+"nothing", body)
	}
}

func TestBadMessagesToDevicesAreRefused(t *testing.T) {
	t.Parallel()
	alice := newDeployment(t).process().client("alice").with("A")
	to := func(content string) string { return fmt.Sprintf(`{"messages":{%q:{"A":%s}}}`, alice.user, content) }
	for _, bad := range []struct {
		status     int
		code, body string
	}{
		{400, "M_NOT_JSON", ``},
		{400, "M_NOT_JSON", `{"messages":`},
		{400, "M_BAD_JSON", `[]`},
		{400, "M_MISSING_PARAM", `{}`},
		{400, "M_MISSING_PARAM", `{"messages":null}`},
		{400, "M_BAD_JSON", `{"messages":[]}`},
		{400, "M_BAD_JSON", `{"messages":{"@a:one.test":"x"}}`},
		{400, "M_BAD_JSON", `{"Messages":{}}`},
		{400, "M_BAD_JSON", to(`null`)},
		{400, "M_BAD_JSON", to(`"text"`)},
		{400, "M_BAD_JSON", to(`[]`)},
		{400, "M_BAD_JSON", to(`1`)},
		{400, "M_BAD_JSON", to(`{"a":1,"a":2}`)},
		{413, "M_TOO_LARGE", to(fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", limits.ToDeviceMessage)))},
		{413, "M_TOO_LARGE", to(fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", limits.LargeBody)))},
	} {
		body := bad.body
		alice.refused(bad.status, bad.code, "PUT", aDevice+"1", body)
	}
	alice.refused(400, "M_INVALID_PARAM", "PUT", "/sendToDevice/"+strings.Repeat("t", 256)+"/1", to(`{}`))
	alice.refused(400, "M_INVALID_PARAM", "PUT", aDevice+strings.Repeat("t", 256), to(`{}`))
	(&client{p: alice.p, user: alice.user}).refused(401, "M_MISSING_TOKEN", "PUT", aDevice+"1", to(`{}`))
	equal(t, "sent", alice.queue("A"), []string{})
	// The transaction of a refused request was not used up.
	alice.ok("PUT", aDevice+"1", to(`{"n":1}`))
	equal(t, "sent", alice.queue("A"), []string{`{"n":1}`})
}

func TestTransactionsInParallelSendOnce(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one, two := d.process(), d.process()
	alice := one.client("alice").with("A")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			c := alice.at([]*process{one, two}[i%2])
			if status, answer := c.do("PUT", aDevice+"same", object{"messages": object{alice.user: object{"A": object{"n": i}}}}); status != 200 {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
	wg.Wait()
	equal(t, "messages", len(alice.queue("A")), 1)
}

func TestDeletedDeviceLosesItsMessages(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice").with("A")
	send := func(txn string) {
		alice.ok("PUT", aDevice+txn, object{"messages": object{alice.user: object{"*": object{"n": txn}}}})
	}
	for n, end := range []func(c *client){
		func(c *client) { c.ok("POST", "/logout", object{}) },
		func(c *client) {
			must(t, p.sessions.DeleteDevices(t.Context(), matrix.UserID(c.user), []matrix.DeviceID{"GONE"}))
		},
	} {
		gone := alice.with("GONE")
		send(fmt.Sprint("before", n))
		equal(t, "before", len(alice.queue("GONE")), 1)
		end(gone)
		equal(t, "after", len(alice.queue("GONE")), 0)
		send(fmt.Sprint("after", n))
		alice.with("GONE").with("GONE")
		equal(t, "the next device of that name", len(alice.queue("GONE")), 0)
	}
	alice.ok("POST", "/logout/all", object{})
	equal(t, "after logout of all", len(alice.queue("A")), 0)
	// What is left of a device that was sent something while it was deleted goes with the next housekeeping.
	_, err := p.journal.Put(t.Context(), store.Update{Kind: store.KindToDevice, UserID: matrix.UserID(alice.user), Key: "A"})
	must(t, err)
	n, err := p.store.DeleteOrphanedToDevice(t.Context(), 100)
	must(t, err)
	if n == 0 || len(alice.updates(store.KindToDevice)) != 0 {
		t.Errorf("%d devices were cleaned up, %d left", n, len(alice.updates(store.KindToDevice)))
	}
}

// A full queue loses its oldest messages, and takes new ones.
func TestFullQueueLosesItsOldestMessages(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice").with("A")
	user := matrix.UserID(alice.user)
	fill := func(n, size int) {
		content, err := json.Marshal(object{"x": strings.Repeat("x", size)})
		must(t, err)
		// Many messages at once, which no client sends to one device; together they are no larger than a request may be.
		step := min(1000, limits.ToDeviceBytes/size)
		for i := 0; i < n; i += step {
			send := &store.ToDeviceSend{Sender: user, SenderDevice: "FILL", Type: "t", TxnID: fmt.Sprint(size, i)}
			for range min(step, n-i) {
				send.Messages = append(send.Messages, store.ToDeviceRecipient{UserID: user, DeviceID: "A", Content: content})
			}
			_, err := p.journal.Append(t.Context(), store.ToDeviceUnit(send))
			must(t, err)
		}
	}
	send := func(txn string) []string {
		alice.ok("PUT", aDevice+txn, object{"messages": object{alice.user: object{"A": object{"n": txn}}}})
		list := alice.queue("A")
		if newest := list[len(list)-1]; newest != fmt.Sprintf(`{"n":%q}`, txn) {
			t.Fatalf("the newest message is %.50q", newest)
		}
		return list
	}
	send("oldest")
	fill(limits.ToDeviceQueue-1, 10)
	if list := send("many"); len(list) > limits.ToDeviceQueue || len(list) < limits.ToDeviceQueue*9/10 || strings.Contains(list[0], "oldest") {
		t.Errorf("%d messages are left, the oldest %q", len(list), list[0])
	}
	must(t, p.store.DeleteToDevice(t.Context(), user, "A", 1<<60))
	send("oldest again")
	fill(limits.ToDeviceQueueBytes/(60<<10)+1, 60<<10)
	if list := send("large"); len(list) > limits.ToDeviceQueueBytes/(60<<10) || len(list) < limits.ToDeviceQueueBytes/(60<<10)*9/10 || strings.Contains(list[0], "oldest") {
		t.Errorf("%d messages are left, the oldest %.50q", len(list), list[0])
	}
}

func TestSendToAThousandDevicesIsOneRequest(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice := p.client("alice").with("A")
	must(t, p.store.Write(t.Context(), func(tx *store.Tx) error {
		for i := range 1000 {
			err := tx.PutDevice(t.Context(), store.Device{UserID: matrix.UserID(alice.user), DeviceID: matrix.DeviceID(fmt.Sprint("D", i))})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	all := object{}
	for i := range 1000 {
		all[fmt.Sprint("D", i)] = object{"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": object{"key": object{"body": strings.Repeat("x", 1500), "type": 0}}}
	}
	alice.ok("PUT", aDevice+"1", object{"messages": object{alice.user: all}})
	for _, device := range []string{"D0", "D999"} {
		equal(t, device, len(alice.queue(device)), 1)
	}
	// "*" multiplies: what is too much in all is refused.
	alice.refused(413, "M_TOO_LARGE", "PUT", aDevice+"2", object{"messages": object{alice.user: object{"*": object{"x": strings.Repeat("x", 60<<10)}}}})
	equal(t, "D0", len(alice.queue("D0")), 1)
}
