package clientapi_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/store"
)

// identity is a user's cross-signing keys, as the user's client has them.
type identity struct {
	master, self, user signingKey
}

func newIdentity(t *testing.T) identity {
	return identity{newSigningKey(t, ""), newSigningKey(t, ""), newSigningKey(t, "")}
}

func (c *cryptoDevice) crossSigningKey(usage string, k signingKey) object {
	return object{"user_id": c.user, "usage": []string{usage}, "keys": object{"ed25519:" + k.id: k.id}}
}

// keysOf is the request that publishes an identity.
func (c *cryptoDevice) keysOf(id identity) object {
	return object{
		"master_key":       c.key.sign(c.t, c.user, c.crossSigningKey("master", id.master)),
		"self_signing_key": id.master.sign(c.t, c.user, c.crossSigningKey("self_signing", id.self)),
		"user_signing_key": id.master.sign(c.t, c.user, c.crossSigningKey("user_signing", id.user)),
	}
}

// publish uploads device keys and an identity of a user who has none.
func (c *cryptoDevice) publish() identity {
	c.t.Helper()
	id := newIdentity(c.t)
	c.upload(object{"device_keys": c.deviceKeys()})
	c.want(200, "", "device_signing/upload", c.keysOf(id))
	return id
}

func (c *cryptoDevice) wantFailure(code, user, key string, o object) {
	c.t.Helper()
	answer := c.want(200, "", "signatures/upload", object{user: object{key: o}})
	if have, _ := at(answer, "failures", user, key)["errcode"].(string); have != code {
		c.t.Errorf("signing %s of %s: %v, want %q", key, user, answer, code)
	}
}

func TestCrossSigningKeysAreShownToWhomTheyConcern(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	p.user("bob")
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	id := alice.publish()
	sent := alice.keysOf(id)
	for _, who := range []*cryptoDevice{alice, bob} {
		found := who.query(alice.user)
		sameJSON(t, "master", at(found, "master_keys", alice.user), sent["master_key"])
		sameJSON(t, "self-signing", at(found, "self_signing_keys", alice.user), sent["self_signing_key"])
		if who == alice {
			sameJSON(t, "user-signing", at(found, "user_signing_keys", alice.user), sent["user_signing_key"])
		} else if len(at(found, "user_signing_keys")) != 0 {
			t.Errorf("bob sees alice's user-signing key: %v", found)
		}
	}
}

// Spec: client-server v1.19 §cross-signing; MSC3967
func TestOnlyNewCrossSigningKeysAskForThePassword(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, two := d.process(), d.process()
	p.user("alice")
	p.user("bob")
	alice := p.cryptoDevice("alice", "A")
	const upload = "device_signing/upload"
	alice.want(400, "M_MISSING_PARAM", upload, object{})
	first := alice.publish()
	sent := alice.keysOf(first)
	alice.on(two).want(200, "", upload, sent)
	alice.want(200, "", upload, object{"master_key": sent["master_key"]})
	alice.want(200, "", upload, object{"self_signing_key": sent["self_signing_key"]})
	alice.want(200, "", upload, object{})

	next := newIdentity(t)
	other := alice.keysOf(next)
	challenge := alice.want(401, "", upload, other)
	session := challenge.text("session")
	alice.want(401, "", upload, object{"user_signing_key": first.master.sign(t, alice.user, alice.crossSigningKey("user_signing", next.user))})
	with := func(o object, auth object) object { o = maps.Clone(o); o["auth"] = auth; return o }
	alice.want(401, "M_FORBIDDEN", upload, with(other, proof(session, "alice", "wrong")))
	// What was asked for one set of keys is not done with another.
	alice.want(401, "M_UNAUTHORIZED", upload, with(alice.keysOf(newIdentity(t)), proof(session, "alice", password)))
	sameJSON(t, "master", at(alice.query(alice.user), "master_keys", alice.user), sent["master_key"])
	alice.on(two).want(200, "", upload, with(other, proof(session, "alice", password)))
	found := alice.query(alice.user)
	for name, key := range map[string]string{"master_keys": "master_key", "self_signing_keys": "self_signing_key", "user_signing_keys": "user_signing_key"} {
		sameJSON(t, name, at(found, name, alice.user), other[key])
	}
	// A new master key alone takes the keys of the old one with it.
	third := newIdentity(t)
	alice.want(200, "", upload, with(object{"master_key": alice.keysOf(third)["master_key"]}, proof("", "alice", password)))
	found = alice.query(alice.user)
	if len(at(found, "self_signing_keys")) != 0 || len(at(found, "user_signing_keys")) != 0 || len(at(found, "master_keys")) != 1 {
		t.Errorf("after a new master key: %v", found)
	}
}

func TestBadCrossSigningKeysAreRefused(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	p.user("alice")
	alice := p.cryptoDevice("alice", "A")
	alice.upload(object{"device_keys": alice.deviceKeys()})
	id, stranger := newIdentity(t), newSigningKey(t, "")
	p.login("alice", object{"device_id": id.user.id})
	with := func(key, member string, value any) object {
		body := alice.keysOf(id)
		delete(body, "user_signing_key") // it is called as a device
		k := maps.Clone(body[key].(object))
		k[member] = value
		signer := id.master
		if key == "master_key" {
			signer = alice.key
		}
		delete(k, "signatures")
		body[key] = signer.sign(t, alice.user, k)
		return body
	}
	good := alice.keysOf(id)
	replaced := func(key string, o any) object {
		body := maps.Clone(good)
		delete(body, "user_signing_key")
		body[key] = o
		return body
	}
	forged := maps.Clone(good["master_key"].(object))
	forged["signatures"] = object{alice.user: object{"ed25519:A": alice.deviceKeys()["signatures"].(object)[alice.user].(object)["ed25519:A"]}}
	for what, test := range map[string]struct {
		status int
		code   string
		body   any
	}{
		"another user":         {400, "M_INVALID_PARAM", with("master_key", "user_id", "@bob:one.test")},
		"no user":              {400, "M_BAD_JSON", with("master_key", "user_id", 5)},
		"another usage":        {400, "M_INVALID_PARAM", with("master_key", "usage", []string{"self_signing"})},
		"two usages":           {400, "M_INVALID_PARAM", with("self_signing_key", "usage", []string{"self_signing", "master"})},
		"usage as text":        {400, "M_BAD_JSON", with("master_key", "usage", "master")},
		"no keys":              {400, "M_INVALID_PARAM", with("master_key", "keys", object{})},
		"two keys":             {400, "M_INVALID_PARAM", with("master_key", "keys", object{"ed25519:" + id.self.id: id.self.id, "ed25519:" + id.user.id: id.user.id})},
		"another name":         {400, "M_INVALID_PARAM", with("master_key", "keys", object{"ed25519:x": id.self.id})},
		"not a key":            {400, "M_INVALID_PARAM", with("master_key", "keys", object{"ed25519:AAAA": "AAAA"})},
		"another algorithm":    {400, "M_INVALID_PARAM", with("master_key", "keys", object{"curve25519:" + id.self.id: id.self.id})},
		"keys as list":         {400, "M_BAD_JSON", with("master_key", "keys", []string{})},
		"as list":              {400, "M_BAD_JSON", replaced("master_key", []string{})},
		"not signed":           {400, "M_INVALID_SIGNATURE", replaced("self_signing_key", alice.crossSigningKey("self_signing", id.self))},
		"signed by a stranger": {400, "M_INVALID_SIGNATURE", replaced("self_signing_key", stranger.sign(t, alice.user, alice.crossSigningKey("self_signing", id.self)))},
		"signed by a device":   {400, "M_INVALID_SIGNATURE", replaced("self_signing_key", alice.key.sign(t, alice.user, alice.crossSigningKey("self_signing", id.self)))},
		"another's signature":  {400, "M_INVALID_SIGNATURE", replaced("master_key", forged)},
		"without a master key": {400, "M_MISSING_PARAM", object{"self_signing_key": good["self_signing_key"]}},
		"called as a device":   {403, "M_FORBIDDEN", good},
		"the same key twice":   {400, "M_INVALID_PARAM", replaced("self_signing_key", id.master.sign(t, alice.user, alice.crossSigningKey("self_signing", id.master)))},
	} {
		status, answer := p.do("POST", keysPath+"device_signing/upload", alice.token, test.body)
		if status != test.status || answer.text("errcode") != test.code {
			t.Errorf("%s: %d %v, want %d %s", what, status, answer, test.status, test.code)
		}
	}
	if found := at(alice.query(alice.user), "master_keys"); len(found) != 0 {
		t.Errorf("something was stored: %v", found)
	}
	// Nor may a device be called as a key.
	alice.want(200, "", "device_signing/upload", with("master_key", "x", "y"))
	p.want(400, "M_INVALID_PARAM", "POST", "/_matrix/client/v3/login", "", loginBody("alice", password, object{"device_id": id.master.id}))
}

func TestSignaturesAreVerifiedAndShownToWhomTheyConcern(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	for _, name := range []string{"alice", "bob", "carol"} {
		p.user(name)
	}
	alice, tablet := p.cryptoDevice("alice", "A"), p.cryptoDevice("alice", "TABLET")
	bob, carol := p.cryptoDevice("bob", "B"), p.cryptoDevice("carol", "C")
	id, bobs, carols := alice.publish(), bob.publish(), carol.publish()
	tablet.upload(object{"device_keys": tablet.deviceKeys()})
	master := func(c *cryptoDevice, id identity) object { return c.keysOf(id)["master_key"].(object) }
	stranger := newSigningKey(t, "")

	for what, test := range map[string]struct {
		code, user, key string
		o               object
	}{
		"no signature":                               {"M_INVALID_SIGNATURE", alice.user, "TABLET", with(tablet.deviceKeys(), "signatures", object{})},
		"a stranger's":                               {"M_INVALID_SIGNATURE", alice.user, "TABLET", stranger.sign(t, alice.user, tablet.deviceKeys())},
		"in another's name":                          {"M_INVALID_SIGNATURE", alice.user, "TABLET", with(bobs.self.sign(t, bob.user, tablet.deviceKeys()), "signatures", object{bob.user: object{"ed25519:" + bobs.self.id: "x"}})},
		"one right and one wrong":                    {"M_INVALID_SIGNATURE", alice.user, "TABLET", stranger.sign(t, alice.user, id.self.sign(t, alice.user, tablet.deviceKeys()))},
		"by the user-signing key":                    {"M_INVALID_SIGNATURE", alice.user, "TABLET", id.user.sign(t, alice.user, tablet.deviceKeys())},
		"of something else":                          {"M_INVALID_PARAM", alice.user, "TABLET", id.self.sign(t, alice.user, with(tablet.deviceKeys(), "x", "y"))},
		"no such device":                             {"M_NOT_FOUND", alice.user, "NONE", id.self.sign(t, alice.user, tablet.deviceKeys())},
		"another's device":                           {"M_NOT_FOUND", bob.user, "B", id.user.sign(t, alice.user, bob.deviceKeys())},
		"another's self-signing key":                 {"M_NOT_FOUND", bob.user, bobs.self.id, id.user.sign(t, alice.user, bob.keysOf(bobs)["self_signing_key"].(object))},
		"another's, by the wrong key":                {"M_INVALID_SIGNATURE", bob.user, bobs.master.id, id.self.sign(t, alice.user, master(bob, bobs))},
		"the own master key by the self-signing key": {"M_INVALID_SIGNATURE", alice.user, id.master.id, id.self.sign(t, alice.user, master(alice, id))},
		"nobody":   {"M_NOT_FOUND", "@nobody:one.test", bobs.master.id, id.user.sign(t, alice.user, master(bob, bobs))},
		"far away": {"M_NOT_FOUND", "@far:other.test", bobs.master.id, id.user.sign(t, alice.user, master(bob, bobs))},
	} {
		t.Log(what)
		alice.wantFailure(test.code, test.user, test.key, test.o)
	}
	for _, who := range []*cryptoDevice{alice, bob} {
		found := who.query(alice.user, bob.user)
		sameJSON(t, "the tablet", at(found, "device_keys", alice.user, "TABLET"), tablet.deviceKeys())
		sameJSON(t, "bob's key", at(found, "master_keys", bob.user), master(bob, bobs))
	}

	// One request with all sorts: what is right is stored, what is wrong is named.
	answer := alice.want(200, "", "signatures/upload", object{
		alice.user: object{
			"TABLET":     id.self.sign(t, alice.user, tablet.deviceKeys()),
			"A":          stranger.sign(t, alice.user, alice.deviceKeys()),
			id.master.id: tablet.key.sign(t, alice.user, master(alice, id)),
		},
		bob.user: object{bobs.master.id: id.user.sign(t, alice.user, master(bob, bobs))},
	})
	if failures := at(answer, "failures"); len(failures) != 1 || len(at(failures[alice.user])) != 1 || at(failures, alice.user, "A") == nil {
		t.Errorf("failures are %v", failures)
	}
	carol.wantFailure("", bob.user, bobs.master.id, carols.user.sign(t, carol.user, master(bob, bobs)))
	for _, who := range []*cryptoDevice{alice, bob, carol} {
		found := who.query(alice.user, bob.user)
		sameJSON(t, "the tablet", at(found, "device_keys", alice.user, "TABLET"), id.self.sign(t, alice.user, tablet.deviceKeys()))
		sameJSON(t, "alice's device", at(found, "device_keys", alice.user, "A"), alice.deviceKeys())
		sameJSON(t, "alice's master key", at(found, "master_keys", alice.user), tablet.key.sign(t, alice.user, master(alice, id)))
		signers := slices.Sorted(maps.Keys(at(found, "master_keys", bob.user, "signatures")))
		want := []string{bob.user}
		if who != bob {
			want = slices.Sorted(slices.Values([]string{bob.user, who.user}))
		}
		if !slices.Equal(signers, want) {
			t.Errorf("%s sees signatures of %v on bob's key, want %v", who.user, signers, want)
		}
	}
	// Device keys that are uploaded again keep their signature.
	tablet.upload(object{"device_keys": tablet.deviceKeys()})
	sameJSON(t, "the tablet", at(bob.query(alice.user), "device_keys", alice.user, "TABLET"), id.self.sign(t, alice.user, tablet.deviceKeys()))
}

func with(o object, name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}

// deviceListPositions are when the lists of devices last changed, by user and key.
func (p *process) deviceListPositions() map[string]int64 {
	p.t.Helper()
	list, err := p.store.ListKindUpdates(context.Background(), store.KindDeviceList, 0, 1000)
	must(p.t, err)
	at := make(map[string]int64)
	for _, up := range list {
		at[string(up.UserID)+" "+up.Key] = up.Position
	}
	return at
}

// Whatever others see of a user's devices is told, and nothing else.
func TestChangesOfDevicesAreTold(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	for _, name := range []string{"alice", "bob"} {
		p.user(name)
	}
	alice, silent, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("alice", "SILENT"), p.cryptoDevice("bob", "B")
	bobs := bob.publish()
	const everybody = "@alice:one.test "
	step := func(what string, want []string, do func()) {
		t.Helper()
		before := p.deviceListPositions()
		do()
		var told []string
		for key, position := range p.deviceListPositions() {
			if before[key] != position {
				told = append(told, key)
			}
		}
		slices.Sort(told)
		if have, _ := json.Marshal(told); !slices.Equal(told, want) {
			t.Errorf("%s: told %s, want %q", what, have, want)
		}
	}
	rename := func(device, name string) func() {
		return func() { p.want(200, "", "PUT", devices+"/"+device, alice.token, object{"display_name": name}) }
	}
	id := newIdentity(t)
	nobody, all := []string(nil), []string{everybody}
	step("one-time keys", nobody, func() { alice.offer("1") })
	step("a name of a device without keys", nobody, rename("A", "x"))
	step("device keys", all, func() { alice.upload(object{"device_keys": alice.deviceKeys()}) })
	step("the same keys", nobody, func() { alice.upload(object{"device_keys": alice.deviceKeys()}) })
	step("a name", all, rename("A", "y"))
	step("the same name", nobody, rename("A", "y"))
	step("cross-signing keys", all, func() { alice.want(200, "", "device_signing/upload", alice.keysOf(id)) })
	step("the same cross-signing keys", nobody, func() { alice.want(200, "", "device_signing/upload", alice.keysOf(id)) })
	step("a user-signing key", []string{everybody + alice.user}, func() {
		next := newSigningKey(t, "")
		alice.want(200, "", "device_signing/upload", object{"auth": proof("", "alice", password),
			"user_signing_key": id.master.sign(t, alice.user, alice.crossSigningKey("user_signing", next))})
		id.user = next
	})
	step("a signed device", all, func() {
		alice.wantFailure("", alice.user, "A", id.self.sign(t, alice.user, alice.deviceKeys()))
	})
	step("the same signature", nobody, func() {
		alice.wantFailure("", alice.user, "A", id.self.sign(t, alice.user, alice.deviceKeys()))
	})
	step("another's key", []string{everybody + bob.user}, func() {
		alice.wantFailure("", bob.user, bobs.master.id, id.user.sign(t, alice.user, bob.keysOf(bobs)["master_key"].(object)))
	})
	step("a wrong signature", nobody, func() {
		alice.wantFailure("M_INVALID_SIGNATURE", alice.user, "A", id.user.sign(t, alice.user, alice.deviceKeys()))
	})
	step("logout of a device without keys", nobody, func() {
		p.want(200, "", "POST", "/_matrix/client/v3/logout", silent.token, nil)
	})
	step("logout", all, func() { p.want(200, "", "POST", "/_matrix/client/v3/logout", alice.token, nil) })
	step("deactivation", all, func() {
		again := p.login("alice", nil).text("access_token")
		p.want(200, "", "POST", "/_matrix/client/v3/account/deactivate", again, object{"auth": proof("", "alice", password)})
	})
}

func TestChangesOfKeysAreListed(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	for _, name := range []string{"alice", "bob"} {
		p.user(name)
	}
	alice, bob := p.cryptoDevice("alice", "A"), p.cryptoDevice("bob", "B")
	const changes = "/_matrix/client/v3/keys/changes"
	token := func() string { return journal.Token(p.journal.Head()) }
	before := token()
	alice.upload(object{"device_keys": alice.deviceKeys()})
	bob.upload(object{"device_keys": bob.deviceKeys()})
	after := token()
	mine := object{"changed": []string{alice.user}, "left": []string{}}
	none := object{"changed": []string{}, "left": []string{}}
	for query, want := range map[string]object{
		"?from=" + before: mine, "?from=" + after: none, "?from=" + before + "&to=" + after: mine, "?from=" + after + "&to=" + after: none,
	} {
		sameJSON(t, query, p.want(200, "", "GET", changes+query, alice.token, nil), want)
	}
	for query, code := range map[string]string{
		"": "M_MISSING_PARAM", "?to=" + after: "M_MISSING_PARAM", "?from=x": "M_INVALID_PARAM", "?from=s-1": "M_INVALID_PARAM",
		"?from=" + before + "&to=x": "M_INVALID_PARAM", "?from=" + after + "&to=s0": "M_INVALID_PARAM",
	} {
		p.want(400, code, "GET", changes+query, alice.token, nil)
	}
	p.want(401, "M_MISSING_TOKEN", "GET", changes+"?from="+before, "", nil)
}
