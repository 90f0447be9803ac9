package tests

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest"
)

const countPath = "device_one_time_keys_count.signed_curve25519"

// keyLedger is what was offered of a device's one-time keys, and to whom they were given.
type keyLedger struct {
	mu      sync.Mutex
	offered map[string]bool
	given   map[string]int
	broken  int
}

// TestKilledProcessesGiveEachKeyOnce kills processes while keys are uploaded and claimed through all of them. A device offers new keys
// when its sync says that there are few, as clients do; what is claimed is held against what was offered (SEC-39, REL-01).
func TestKilledProcessesGiveEachKeyOnce(t *testing.T) {
	t.Parallel()
	const processes = 2
	dep := hstest.Start(t, hstest.Options{Processes: processes})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	ledger := &keyLedger{offered: make(map[string]bool), given: make(map[string]int)}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { ledger.supply(ctx, alice, processes) })
	for range 4 {
		wg.Go(func() { ledger.claim(ctx, bob, alice, processes) })
	}
	for cycle := range times(4, 40) {
		before := ledger.claimed()
		hstest.Eventually(t, "claims", func() bool { return ledger.claimed() >= before+40 })
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		dep.Kill9(t, cycle%processes)
		between := ledger.claimed()
		hstest.Eventually(t, "claims through the process that is left", func() bool { return ledger.claimed() >= between+20 })
		dep.Restart(t, cycle%processes)
	}
	stop()
	wg.Wait()
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	for name, times := range ledger.given {
		if times != 1 {
			t.Errorf("key %s was given away %d times", name, times)
		}
		if !ledger.offered[name] {
			t.Errorf("key %s was given away and never offered", name)
		}
	}
	if ledger.broken == 0 {
		t.Error("no request was broken off: there was no load")
	}
	// What is counted is what is there, once the database is done with the claims of the processes that were killed.
	attempt := 0
	hstest.Eventually(t, "as many keys as are counted", func() bool {
		attempt++
		alice.MustDo(t, http.MethodPost, hstest.Path("keys", "upload"), map[string]any{"one_time_keys": map[string]any{
			fmt.Sprintf("signed_curve25519:last%d", attempt): map[string]any{"key": "last", "signatures": map[string]any{}}}})
		count := int(alice.MustSync(t, hstest.Sync{}).Get(countPath).Int())
		found := 0
		for claimOne(t, bob.On(found%processes), alice) != "" {
			found++
		}
		return found > 0 && found == count
	})
	t.Logf("%d keys offered, %d given away, %d requests broken off", len(ledger.offered), len(ledger.given), ledger.broken)
}

func (l *keyLedger) claimed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.given)
}

// supply is the device: it syncs, and offers keys when there are few. A request that was broken off is sent again as it was.
func (l *keyLedger) supply(ctx context.Context, u *hstest.User, processes int) {
	since, next := "", 0
	var keys map[string]any
	for n := 0; ctx.Err() == nil; n++ {
		at := u.On(n % processes)
		if keys == nil {
			answer, err := at.Sync(ctx, hstest.Sync{Since: since, Timeout: 2 * time.Second})
			if err != nil || answer.Status != http.StatusOK {
				continue
			}
			since = answer.JSON().Get("next_batch").String()
			if answer.JSON().Get(countPath).Int() >= 30 {
				continue
			}
			keys = make(map[string]any)
			l.mu.Lock()
			for range 50 {
				next++
				name := fmt.Sprintf("k%d", next)
				keys["signed_curve25519:"+name] = map[string]any{"key": name, "signatures": map[string]any{}}
				l.offered[name] = true
			}
			l.mu.Unlock()
		}
		answer, err := at.Do(ctx, http.MethodPost, hstest.Path("keys", "upload"), map[string]any{"one_time_keys": keys})
		if err == nil && answer.Status == http.StatusOK {
			keys = nil
		}
	}
}

// claim claims one key after the other.
func (l *keyLedger) claim(ctx context.Context, u, of *hstest.User, processes int) {
	for n := rand.IntN(processes); ctx.Err() == nil; n++ {
		answer, err := u.On(n%processes).Do(context.WithoutCancel(ctx), http.MethodPost, hstest.Path("keys", "claim"), claimBody(of))
		l.mu.Lock()
		if err != nil || answer.Status != http.StatusOK {
			l.broken++
		} else if name := claimedName(answer.JSON()); name != "" {
			l.given[name]++
		}
		l.mu.Unlock()
	}
}

func claimBody(of *hstest.User) map[string]any {
	return map[string]any{"one_time_keys": map[string]any{of.ID: map[string]any{of.DeviceID: "signed_curve25519"}}}
}

// claimedName is the key in an answer to claimBody, "" for none.
func claimedName(answer gjson.Result) (name string) {
	answer.Get("one_time_keys").ForEach(func(_, devices gjson.Result) bool {
		devices.ForEach(func(_, keys gjson.Result) bool {
			keys.ForEach(func(key, _ gjson.Result) bool {
				name = strings.TrimPrefix(key.String(), "signed_curve25519:")
				return true
			})
			return true
		})
		return true
	})
	return name
}

func claimOne(t *testing.T, u, of *hstest.User) string {
	t.Helper()
	return claimedName(u.MustDo(t, http.MethodPost, hstest.Path("keys", "claim"), claimBody(of)))
}

// TestARestoredCopyGivesNoKeysAway makes a dump, gives keys away, and goes back to the dump: in another cluster, and in the same one.
func TestARestoredCopyGivesNoKeysAway(t *testing.T) {
	t.Parallel()
	cluster := hstest.StartCluster(t)
	dep := hstest.Start(t, hstest.Options{DSN: cluster.DSN()})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	keys := map[string]any{}
	for i := range 10 {
		keys[fmt.Sprintf("signed_curve25519:k%d", i)] = map[string]any{"key": "k", "signatures": map[string]any{}}
	}
	fallback := map[string]any{"signed_curve25519:fallback": map[string]any{"key": "f", "fallback": true, "signatures": map[string]any{}}}
	alice.MustDo(t, http.MethodPost, hstest.Path("keys", "upload"), map[string]any{"one_time_keys": keys, "fallback_keys": fallback})
	if name := claimOne(t, bob, alice); name == "" || name == "fallback" {
		t.Fatalf("the first claim got %q", name)
	}
	dump := filepath.Join(t.TempDir(), "dump")
	postgres(t, "pg_dump", "--format=custom", "--file="+dump, "--dbname="+cluster.DSN())
	for range 3 {
		claimOne(t, bob, alice)
	}
	since := alice.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	dep.Stop(t, 0)

	other := hstest.StartCluster(t)
	for name, dsn := range map[string]string{"another cluster": other.DSN(), "the same cluster": sibling(t, cluster.DSN())} {
		t.Run(name, func(t *testing.T) {
			postgres(t, "pg_restore", "--clean", "--if-exists", "--dbname="+dsn, dump)
			restored := hstest.Start(t, hstest.Options{DSN: dsn})
			at := func(u *hstest.User) *hstest.User { return restored.Session(u) }
			if got := claimOne(t, at(bob), at(alice)); got != "fallback" {
				t.Errorf("the restored copy gave %q away", got)
			}
			answer := at(alice).MustSync(t, hstest.Sync{Since: since})
			if answer.Get(countPath).Int() != 0 || len(answer.Get("device_unused_fallback_key_types").Array()) != 0 {
				t.Errorf("the device is told %s, %s", answer.Get("device_one_time_keys_count"), answer.Get("device_unused_fallback_key_types"))
			}
			at(alice).MustDo(t, http.MethodPost, hstest.Path("keys", "upload"), map[string]any{"one_time_keys": map[string]any{
				"signed_curve25519:new": map[string]any{"key": "n", "signatures": map[string]any{}}}})
			if got := claimOne(t, at(bob), at(alice)); got != "new" {
				t.Errorf("a new key is not given away, but %q", got)
			}
		})
	}
}

// sibling makes an empty database beside the one at dsn.
func sibling(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/restored"
	postgres(t, "psql", "--dbname="+dsn, "--command=CREATE DATABASE restored TEMPLATE template0 ENCODING 'UTF8'")
	return u.String()
}

// postgres runs one of PostgreSQL's programs.
func postgres(t *testing.T, program string, args ...string) {
	t.Helper()
	path := program
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program); len(found) > 0 {
		path = found[len(found)-1]
	}
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := child.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out.String())
	}
}
