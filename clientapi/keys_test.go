package clientapi_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/strictjson"
)

const keysPath = "/_matrix/client/v3/keys/"

// signingKey is a key that signs, as a client has it.
type signingKey struct {
	id      string // the device, or the public key itself
	private ed25519.PrivateKey
}

func newSigningKey(t *testing.T, device string) signingKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	if device == "" {
		device = base64.RawStdEncoding.EncodeToString(public)
	}
	return signingKey{device, private}
}

func (k signingKey) public() string {
	return base64.RawStdEncoding.EncodeToString(k.private.Public().(ed25519.PublicKey))
}

// sign adds the key's signature to an object.
func (k signingKey) sign(t *testing.T, user string, o object) object {
	t.Helper()
	message := maps.Clone(o)
	delete(message, "signatures")
	delete(message, "unsigned")
	raw, err := json.Marshal(message)
	must(t, err)
	raw, err = strictjson.Canonical(raw)
	must(t, err)
	signed := maps.Clone(o)
	all, own := object{}, object{}
	if old, ok := o["signatures"].(object); ok {
		all = maps.Clone(old)
		if of, ok := old[user].(object); ok {
			own = maps.Clone(of)
		}
	}
	own["ed25519:"+k.id] = base64.RawStdEncoding.EncodeToString(ed25519.Sign(k.private, raw))
	all[user] = own
	signed["signatures"] = all
	return signed
}

// cryptoDevice is a signed-in device with its keys.
type cryptoDevice struct {
	t                   *testing.T
	p                   *process
	user, device, token string
	key                 signingKey
}

func (p *process) cryptoDevice(name, device string) *cryptoDevice {
	p.t.Helper()
	answer := p.login(name, object{"device_id": device})
	return &cryptoDevice{p.t, p, answer.text("user_id"), device, answer.text("access_token"), newSigningKey(p.t, device)}
}

func (c *cryptoDevice) on(p *process) *cryptoDevice {
	other := *c
	other.p = p
	return &other
}

func (c *cryptoDevice) want(status int, code, path string, body any) object {
	c.t.Helper()
	return c.p.want(status, code, "POST", keysPath+path, c.token, body)
}

func (c *cryptoDevice) deviceKeys() object {
	return c.key.sign(c.t, c.user, object{
		"user_id": c.user, "device_id": c.device, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": object{"curve25519:" + c.device: "c" + c.device, "ed25519:" + c.device: c.key.public()},
	})
}

func (c *cryptoDevice) oneTimeKey(text string) object {
	return c.key.sign(c.t, c.user, object{"key": text})
}

func (c *cryptoDevice) upload(body object) object {
	c.t.Helper()
	return c.want(200, "", "upload", body)
}

// offer uploads one-time keys, each called and made of its name.
func (c *cryptoDevice) offer(names ...string) {
	c.t.Helper()
	keys := object{}
	for _, n := range names {
		keys["signed_curve25519:"+n] = c.oneTimeKey(n)
	}
	c.upload(object{"one_time_keys": keys})
}

// claim claims a key of another device and returns its name, "" for none.
func (c *cryptoDevice) claim(of *cryptoDevice) string {
	c.t.Helper()
	answer := c.want(200, "", "claim", object{"one_time_keys": object{of.user: object{of.device: "signed_curve25519"}}})
	for name := range at(answer, "one_time_keys", of.user, of.device) {
		return strings.TrimPrefix(name, "signed_curve25519:")
	}
	return ""
}

// at follows names into an answer; nil if one is missing.
func at(o any, names ...string) map[string]any {
	for _, n := range names {
		switch m := o.(type) {
		case object:
			o = m[n]
		case map[string]any:
			o = m[n]
		default:
			return nil
		}
	}
	if m, ok := o.(object); ok {
		return m
	}
	m, _ := o.(map[string]any)
	return m
}

func (c *cryptoDevice) query(users ...string) object {
	c.t.Helper()
	of := object{}
	for _, u := range users {
		of[u] = []string{}
	}
	return c.want(200, "", "query", object{"device_keys": of})
}

func sameJSON(t *testing.T, what string, have, want any) {
	t.Helper()
	h, _ := json.Marshal(have)
	w, _ := json.Marshal(want)
	if string(h) != string(w) {
		t.Errorf("%s:\nhave %s\nwant %s", what, h, w)
	}
}

func TestKeysAreUploadedAndQueried(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	for _, name := range []string{"alice", "bob", "carol"} {
		p.user(name)
	}
	alice, tablet, bob := p.cryptoDevice("alice", "PHONE"), p.cryptoDevice("alice", "TABLET"), p.cryptoDevice("bob", "B")
	p.want(200, "", "PUT", devices+"/PHONE", alice.token, object{"display_name": `Alice's "phone" <é>`})

	sameJSON(t, "counts", alice.upload(object{}), object{"one_time_key_counts": object{"signed_curve25519": 0}})
	keys := alice.deviceKeys()
	sent := maps.Clone(keys)
	sent["unsigned"] = object{"device_display_name": "not this"}
	sent["org.example.more"] = object{"b": 1, "a": []any{"<&>", true, nil}}
	sent = alice.key.sign(t, alice.user, sent)
	answer := alice.upload(object{"device_keys": sent, "one_time_keys": object{
		"signed_curve25519:1": alice.oneTimeKey("1"), "signed_curve25519:2": alice.oneTimeKey("2"), "curve25519:3": "three"}})
	sameJSON(t, "counts", answer, object{"one_time_key_counts": object{"signed_curve25519": 2, "curve25519": 1}})
	tablet.upload(object{"device_keys": tablet.deviceKeys()})

	found := bob.query(alice.user, "@carol:one.test", "@nobody:one.test", "@far:other.test", "@x:two.test")
	want := maps.Clone(sent)
	want["unsigned"] = object{"device_display_name": `Alice's "phone" <é>`}
	sameJSON(t, "the phone", at(found, "device_keys", alice.user, "PHONE"), want)
	sameJSON(t, "the tablet", at(found, "device_keys", alice.user, "TABLET"), tablet.deviceKeys())
	if found := at(found, "device_keys"); len(found) != 2 || len(found["@carol:one.test"].(map[string]any)) != 0 {
		t.Errorf("devices of %v", slices.Collect(maps.Keys(found)))
	}
	if failures := at(found, "failures"); len(failures) != 1 || failures["other.test"] == nil {
		t.Errorf("failures are %v", failures)
	}
	one := bob.want(200, "", "query", object{"device_keys": object{alice.user: []string{"TABLET", "NONE"}}, "timeout": 100})
	if names := slices.Collect(maps.Keys(at(one, "device_keys", alice.user))); !slices.Equal(names, []string{"TABLET"}) {
		t.Errorf("asked for the tablet, got %v", names)
	}
	// Again is the same; keys that change take the place of the old ones.
	alice.upload(object{"device_keys": sent})
	sent["algorithms"] = []string{"m.other"}
	sent = alice.key.sign(t, alice.user, sent)
	alice.upload(object{"device_keys": sent})
	sameJSON(t, "changed", at(bob.query(alice.user), "device_keys", alice.user, "PHONE")["signatures"], sent["signatures"])

	p.want(401, "M_MISSING_TOKEN", "POST", keysPath+"query", "", object{"device_keys": object{}})
}

func TestSignaturesOfOthersAreNotTakenFromUploads(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	alice.upload(object{"device_keys": bob.key.sign(t, bob.user, alice.deviceKeys())})
	for _, who := range []*cryptoDevice{alice, bob} {
		sameJSON(t, "signatures", at(who.query(alice.user), "device_keys", alice.user, "A")["signatures"], alice.deviceKeys()["signatures"])
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.cryptoDevice("alice", "PHONE")
	with := func(name string, value any) object {
		o := alice.deviceKeys()
		if value == nil {
			delete(o, name)
		} else {
			o[name] = value
		}
		return object{"device_keys": o}
	}
	oneTime := func(id string, value any) object { return object{"one_time_keys": object{id: value}} }
	many := object{}
	for i := range 1001 {
		many[fmt.Sprintf("x:%d", i)] = "k"
	}
	for what, test := range map[string]struct {
		status     int
		code, path string
		body       any
	}{
		"another user":           {400, "M_INVALID_PARAM", "upload", with("user_id", "@bob:one.test")},
		"another device":         {400, "M_INVALID_PARAM", "upload", with("device_id", "TABLET")},
		"no user":                {400, "M_BAD_JSON", "upload", with("user_id", nil)},
		"no device":              {400, "M_BAD_JSON", "upload", with("device_id", nil)},
		"no algorithms":          {400, "M_BAD_JSON", "upload", with("algorithms", nil)},
		"algorithms of numbers":  {400, "M_BAD_JSON", "upload", with("algorithms", []int{1})},
		"algorithms as text":     {400, "M_BAD_JSON", "upload", with("algorithms", "m.olm")},
		"keys of numbers":        {400, "M_BAD_JSON", "upload", with("keys", object{"ed25519:PHONE": 1})},
		"keys as list":           {400, "M_BAD_JSON", "upload", with("keys", []string{"x"})},
		"no signatures":          {400, "M_BAD_JSON", "upload", with("signatures", nil)},
		"signatures of numbers":  {400, "M_BAD_JSON", "upload", with("signatures", object{alice.user: object{"a": 1}})},
		"a fraction":             {400, "M_BAD_JSON", "upload", with("x", 1.5)},
		"large":                  {413, "M_TOO_LARGE", "upload", with("x", strings.Repeat("x", 16<<10))},
		"device keys as list":    {400, "M_BAD_JSON", "upload", object{"device_keys": []int{}}},
		"device keys as text":    {400, "M_BAD_JSON", "upload", object{"device_keys": "x"}},
		"id without algorithm":   {400, "M_INVALID_PARAM", "upload", oneTime("AAAA", "x")},
		"empty algorithm":        {400, "M_INVALID_PARAM", "upload", oneTime(":AAAA", "x")},
		"empty key id":           {400, "M_INVALID_PARAM", "upload", oneTime("x:", "x")},
		"long key id":            {400, "M_INVALID_PARAM", "upload", oneTime("x:"+strings.Repeat("x", 256), "x")},
		"key as number":          {400, "M_BAD_JSON", "upload", oneTime("x:1", 1)},
		"null":                   {400, "M_BAD_JSON", "upload", oneTime("x:1", nil)},
		"object without key":     {400, "M_BAD_JSON", "upload", oneTime("x:1", object{"signatures": object{}})},
		"key without signatures": {400, "M_BAD_JSON", "upload", oneTime("x:1", object{"key": "x"})},
		"large key":              {413, "M_TOO_LARGE", "upload", oneTime("x:1", strings.Repeat("x", 8<<10))},
		"too many":               {400, "M_INVALID_PARAM", "upload", object{"one_time_keys": many}},
		"two fallback keys":      {400, "M_INVALID_PARAM", "upload", object{"fallback_keys": object{"x:1": "a", "x:2": "b"}}},
		"one-time keys as list":  {400, "M_BAD_JSON", "upload", object{"one_time_keys": []int{}}},
		"not JSON":               {400, "M_NOT_JSON", "upload", `{"device_keys"`},
		"a key twice":            {400, "M_BAD_JSON", "upload", `{"one_time_keys":{"x:1":"a","x:1":"b"}}`},

		"query nothing":        {400, "M_MISSING_PARAM", "query", object{}},
		"query no user id":     {400, "M_INVALID_PARAM", "query", object{"device_keys": object{"alice": []string{}}}},
		"devices as object":    {400, "M_BAD_JSON", "query", object{"device_keys": object{alice.user: object{"PHONE": "x"}}}},
		"devices as numbers":   {400, "M_BAD_JSON", "query", object{"device_keys": object{alice.user: []int{1}}}},
		"users as list":        {400, "M_BAD_JSON", "query", object{"device_keys": []string{alice.user}}},
		"timeout as text":      {400, "M_BAD_JSON", "query", object{"device_keys": object{}, "timeout": "x"}},
		"claim nothing":        {400, "M_MISSING_PARAM", "claim", object{}},
		"claim no user id":     {400, "M_INVALID_PARAM", "claim", object{"one_time_keys": object{"alice": object{"PHONE": "x"}}}},
		"claim many":           {400, "M_BAD_JSON", "claim", object{"one_time_keys": object{alice.user: object{"PHONE": []string{"x"}}}}},
		"signatures as list":   {400, "M_BAD_JSON", "signatures/upload", []int{}},
		"signatures of nobody": {400, "M_INVALID_PARAM", "signatures/upload", object{"alice": object{}}},
	} {
		if status, answer := p.do("POST", keysPath+test.path, alice.token, test.body); status != test.status || answer.text("errcode") != test.code {
			t.Errorf("%s: %d %v, want %d %s", what, status, answer, test.status, test.code)
		}
	}
	if found := at(alice.query(alice.user), "device_keys", alice.user); len(found) != 0 {
		t.Errorf("something was stored: %v", found)
	}
	sameJSON(t, "counts", alice.upload(object{}), object{"one_time_key_counts": object{"signed_curve25519": 0}})
}

func TestTheSameKeyMayBeUploadedAgain(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	alice.offer("1", "2")
	answer := alice.upload(object{"one_time_keys": object{
		"signed_curve25519:2": alice.oneTimeKey("2"), "signed_curve25519:3": alice.oneTimeKey("3")}})
	sameJSON(t, "counts", answer, object{"one_time_key_counts": object{"signed_curve25519": 3}})
	refused := alice.want(400, "M_INVALID_PARAM", "upload", object{"one_time_keys": object{
		"signed_curve25519:3": alice.oneTimeKey("x"), "signed_curve25519:4": alice.oneTimeKey("4")}})
	if message := refused.text("error"); !strings.Contains(message, "One time key signed_curve25519:3 already exists. Old key: {") {
		t.Errorf("clients do not know this message: %s", message)
	}
	sameJSON(t, "counts", alice.upload(object{}), object{"one_time_key_counts": object{"signed_curve25519": 3}})
	// A key that was given away is not offered again to somebody else.
	given := bob.claim(alice)
	alice.offer(given)
	sameJSON(t, "counts", alice.upload(object{}), object{"one_time_key_counts": object{"signed_curve25519": 2}})
	alice.want(400, "M_INVALID_PARAM", "upload", object{"one_time_keys": object{"signed_curve25519:" + given: alice.oneTimeKey("other")}})
	for range 3 {
		if again := bob.claim(alice); again == given {
			t.Errorf("key %s was given away twice", given)
		}
	}
}

func TestKeysAreClaimedOldestFirstAndThenTheFallbackKey(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	alice, other, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("alice", "OTHER"), p.cryptoDevice("bob", "B")
	// The ids say nothing of the order.
	for _, name := range []string{"m", "z", "a", "k"} {
		alice.offer(name)
	}
	fallback := alice.key.sign(t, alice.user, object{"key": "f", "fallback": true})
	alice.upload(object{"fallback_keys": object{"signed_curve25519:f": fallback}})
	other.offer("o")
	claimed := bob.want(200, "", "claim", object{"one_time_keys": object{
		alice.user: object{"A": "signed_curve25519", "OTHER": "signed_curve25519", "NONE": "signed_curve25519"},
		bob.user:   object{"B": "signed_curve25519"}, "@far:other.test": object{"X": "signed_curve25519"}, "@nobody:one.test": object{"X": "y"},
	}})
	sameJSON(t, "claimed", claimed["one_time_keys"], object{alice.user: object{
		"A": object{"signed_curve25519:m": alice.oneTimeKey("m")}, "OTHER": object{"signed_curve25519:o": other.oneTimeKey("o")}}})
	if failures := at(claimed, "failures"); len(failures) != 1 || failures["other.test"] == nil {
		t.Errorf("failures are %v", failures)
	}
	var order []string
	for range 6 {
		order = append(order, bob.claim(alice))
	}
	sameJSON(t, "order", order, []string{"z", "a", "k", "f", "f", "f"})
	if name := bob.claim(other); name != "" {
		t.Errorf("a device without keys gave %s", name)
	}
	wrong := bob.want(200, "", "claim", object{"one_time_keys": object{alice.user: object{"A": "curve25519"}}})
	sameJSON(t, "another algorithm", wrong["one_time_keys"], object{})
}

func TestTheOldestKeysGoWhenThereAreTooMany(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	alice.offer("first")
	keys := object{}
	for i := range 1000 {
		keys[fmt.Sprintf("signed_curve25519:%d", i)] = object{"key": "k", "signatures": object{}}
	}
	sameJSON(t, "counts", alice.upload(object{"one_time_keys": keys}), object{"one_time_key_counts": object{"signed_curve25519": 1000}})
	if name := bob.claim(alice); name == "first" {
		t.Error("the oldest key is still there")
	}
}

// Two processes give each key to one person, however many ask at once.
func TestEachKeyIsGivenOnce(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	processes := []*process{d.process(), d.process()}
	p := processes[0]
	p.user("alice")
	p.user("bob")
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	const keys, claims = 60, 80
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	alice.offer(names...)
	alice.upload(object{"fallback_keys": object{"signed_curve25519:fallback": alice.oneTimeKey("fallback")}})
	var mu sync.Mutex
	given := map[string]int{}
	var wg sync.WaitGroup
	for worker := range 8 {
		c := bob.on(processes[worker%2])
		wg.Go(func() {
			for range claims / 8 {
				name := c.claim(alice)
				mu.Lock()
				given[name]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, name := range names {
		if given[name] != 1 {
			t.Errorf("key %s was given %d times", name, given[name])
		}
	}
	if given["fallback"] != claims-keys || len(given) != keys+1 {
		t.Errorf("the fallback key was given %d times, %d keys in all: %v", given["fallback"], len(given), given)
	}
}

func TestKeysGoWithTheirDevice(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, two := d.process(), d.process()
	p.user("alice")
	p.user("bob")
	bob := p.cryptoDevice("bob", "B")
	for _, way := range []string{"logout", "logout/all", "password", "deactivate"} {
		t.Run(way, func(t *testing.T) {
			alice, other := p.cryptoDevice("alice", "GONE"), p.cryptoDevice("alice", "OTHER")
			alice.upload(object{"device_keys": alice.deviceKeys(), "fallback_keys": object{"signed_curve25519:f": alice.oneTimeKey("f")}})
			alice.offer("1", "2")
			if len(at(bob.query(alice.user), "device_keys", alice.user, "GONE")) == 0 {
				t.Fatal("the keys are not there")
			}
			switch way {
			case "deactivate":
				p.want(200, "", "POST", "/_matrix/client/v3/account/deactivate", alice.token, object{"auth": proof("", "alice", password)})
			case "password":
				p.want(200, "", "POST", "/_matrix/client/v3/account/password", other.token,
					object{"new_password": password, "auth": proof("", "alice", password)})
			default:
				p.want(200, "", "POST", "/_matrix/client/v3/"+way, alice.token, nil)
			}
			if left := at(bob.on(two).query(alice.user), "device_keys", alice.user); len(left) != 0 {
				t.Errorf("keys are left: %v", left)
			}
			if name := bob.claim(alice); name != "" {
				t.Errorf("key %s of a device that is gone was given away", name)
			}
		})
	}
}

// A database that was restored gives none of its one-time keys away: they may have been given away before.
func TestKeysOfAnotherEpochAreDropped(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, two := d.process(), d.process()
	p.user("alice")
	p.user("bob")
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	alice.offer("1", "2", "3")
	alice.upload(object{"fallback_keys": object{"signed_curve25519:f": alice.oneTimeKey("f")}})
	if name := bob.claim(alice); name == "f" {
		t.Fatal("the first claim got the fallback key")
	}
	counts := func() string {
		c, err := p.store.GetKeyCounts(t.Context(), "@alice:one.test", "A")
		must(t, err)
		return fmt.Sprint(c.OneTime, c.UnusedFallback)
	}
	if have := counts(); have != "[{signed_curve25519 2}] [signed_curve25519]" {
		t.Fatalf("counts are %s", have)
	}
	p.sql(`UPDATE key_epoch SET epoch = 'the cluster from which the copy was made'`)
	// Both processes find out, one does it.
	var wg sync.WaitGroup
	for _, c := range []*cryptoDevice{bob, bob.on(two)} {
		wg.Go(func() {
			if name := c.claim(alice); name != "f" {
				t.Errorf("key %s of the old epoch was given away", name)
			}
		})
	}
	wg.Wait()
	if have := counts(); have != "[] []" {
		t.Errorf("counts are %s", have)
	}
	alice.offer("4")
	if name := bob.on(two).claim(alice); name != "4" {
		t.Errorf("a new key is not given: %q", name)
	}
	// The operator says that the files were put back, of which the database itself knows nothing.
	alice.offer("5")
	must(t, p.store.EndKeyEpoch(t.Context()))
	if name := bob.claim(alice); name != "f" {
		t.Errorf("key %s was given away after the database was put back", name)
	}
}
