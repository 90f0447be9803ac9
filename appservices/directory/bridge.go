package directory

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"maunium.net/go/mautrix/appservice"

	"github.com/roomline/roomline/internal/outbound"
)

// Bridge keeps the accounts of an organisation as a source has them. It is not safe for concurrent use.
type Bridge struct {
	cfg    *Config
	source Source
	server *scim
	rooms  *rooms
	state  *state
	log    *slog.Logger
	now    func() time.Time
	// progress is told what has been done of how much.
	progress func(what string, done, of int)
}

// New returns a Bridge for a configuration. progress may be nil.
func New(c *Config, log *slog.Logger, progress func(what string, done, of int)) (*Bridge, error) {
	if _, err := secretFile(c.Registration); err != nil {
		return nil, fmt.Errorf("registration: %w", err)
	}
	registration, err := appservice.LoadRegistration(c.Registration)
	if err != nil {
		// What the parser says may quote a token.
		return nil, fmt.Errorf("registration: %s is no registration", c.Registration)
	}
	// The homeserver may be anywhere: the administrator said where.
	reach := outbound.Config{Allowed: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, Timeout: 5 * time.Minute}
	if c.Homeserver.CAFile != "" {
		pem, err := os.ReadFile(c.Homeserver.CAFile)
		if err != nil {
			return nil, fmt.Errorf("homeserver.ca_file: %w", err)
		}
		reach.RootCAs = x509.NewCertPool()
		if !reach.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("homeserver.ca_file: there is no certificate in %s", c.Homeserver.CAFile)
		}
	}
	client := outbound.New(reach)
	b := &Bridge{
		cfg: c, source: c.source(), log: log, now: time.Now, progress: progress,
		server: &scim{url: strings.TrimRight(c.Homeserver.URL, "/"), token: registration.AppToken, http: client},
	}
	if b.progress == nil {
		b.progress = func(string, int, int) {}
	}
	if b.rooms, err = newRooms(c, registration, client); err != nil {
		return nil, err
	}
	b.state, err = loadState(c.StateFile, b.source.Name())
	return b, err
}

// Options of one Sync.
type Options struct {
	// DryRun changes nothing.
	DryRun bool
	// Full compares with all that the homeserver has, and reads the whole source.
	Full bool
	// AcceptLeavers is how many people may leave although the guard would stop.
	AcceptLeavers int
}

// Summary is what a Sync has done.
type Summary struct {
	Plan
	// Failed are people and groups with which something went wrong. They are tried again the next time.
	Failed []Skipped
	Took   time.Duration
}

// Sync makes the homeserver have what the source says. A ShrunkError says that the guard stopped it.
func (b *Bridge) Sync(ctx context.Context, o Options) (Summary, error) {
	began := b.now()
	if o.Full || b.state.Full.IsZero() || began.Sub(b.state.Full) >= b.cfg.Full {
		if err := b.compare(ctx); err != nil {
			return Summary{}, fmt.Errorf("ask the homeserver what it has: %w", err)
		}
	}
	snapshot, err := b.source.Read(ctx, b.state.Mark)
	if err != nil {
		return Summary{}, fmt.Errorf("read the source: %w", err)
	}
	done := Summary{Plan: b.state.plan(snapshot, began, b.cfg)}
	if err := done.guard(b.cfg.Guard, o.AcceptLeavers); err != nil {
		return done, err
	}
	if o.DryRun {
		return done, nil
	}
	err = b.apply(ctx, &done)
	done.Took = b.now().Sub(began)
	if err == nil {
		b.state.Mark = snapshot.Mark
	}
	if len(done.Failed) > 0 {
		// Whoever is not there yet is found by a comparison only.
		b.state.Full = began.Add(retryAfter - b.cfg.Full)
	}
	return done, errors.Join(err, b.state.save(b.cfg.StateFile))
}

// retryAfter is when what failed is tried again.
const retryAfter = 10 * time.Minute

// compare takes what the homeserver has for what was done, and forgets what the source has said.
func (b *Bridge) compare(ctx context.Context) error {
	users, err := b.server.users(ctx)
	if err != nil {
		return err
	}
	groups, err := b.server.groups(ctx)
	if err != nil {
		return err
	}
	fresh := newState(b.state.Source)
	fresh.Full = b.now()
	for _, u := range users {
		if u.ExternalID == "" {
			continue
		}
		a := &account{SCIM: u.ID, Active: u.Active == nil || *u.Active}
		if before := b.state.People[u.ExternalID]; before != nil && before.SCIM == u.ID && before.Active == a.Active {
			a.Hash, a.Left = before.Hash, before.Left
		}
		if !a.Active && a.Left == nil {
			now := b.now()
			a.Left = &now
		}
		fresh.People[u.ExternalID] = a
	}
	for _, g := range groups {
		if g.ExternalID == "" {
			continue
		}
		r := &room{SCIM: g.ID}
		if g.Room != nil {
			r.Room = g.Room.RoomID
		}
		if before := b.state.Groups[g.ExternalID]; before != nil && before.SCIM == g.ID {
			r.Hash = before.Hash
		}
		fresh.Groups[g.ExternalID] = r
	}
	b.state = fresh
	return nil
}

// apply carries a plan out. An error means that the homeserver could not be asked; what went wrong with one person is in Failed.
func (b *Bridge) apply(ctx context.Context, done *Summary) error {
	// Leavers first: whatever else goes wrong, they are out.
	if err := b.lock(ctx, done); err != nil {
		return err
	}
	if err := b.write(ctx, done); err != nil {
		return err
	}
	return b.applyGroups(ctx, done)
}

func (b *Bridge) lock(ctx context.Context, done *Summary) error {
	var operations []operation
	for _, id := range done.Lock {
		has := b.state.People[id]
		operations = append(operations, operation{"PATCH", "/Users/" + has.SCIM, setActive(false), func(_ string, err error) {
			if err != nil && !gone(err) {
				done.fail(id, err)
				return
			}
			now := b.now()
			has.Active, has.Hash, has.Left = false, "", &now
		}})
	}
	for _, id := range done.Erase {
		operations = append(operations, operation{"DELETE", "/Users/" + b.state.People[id].SCIM, nil, func(_ string, err error) {
			if err != nil && !gone(err) {
				done.fail(id, err)
				return
			}
			delete(b.state.People, id)
		}})
	}
	return b.bulk(ctx, "locked", operations)
}

func (s *Summary) fail(id string, err error) { s.Failed = append(s.Failed, Skipped{id, err.Error()}) }

// write makes and changes accounts, managers before those that they manage.
func (b *Bridge) write(ctx context.Context, done *Summary) error {
	all := append(append(append([]Person(nil), done.Create...), done.Update...), done.Reactivate...)
	for _, level := range levels(all) {
		var operations []operation
		for _, p := range level {
			operations = append(operations, b.put(&p, done))
		}
		if err := b.bulk(ctx, "accounts", operations); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bridge) put(p *Person, done *Summary) operation {
	manager := ""
	if m := b.state.People[p.Manager]; m != nil {
		manager = m.SCIM
	}
	resource, hash := p.resource(p.Localpart+"@"+b.cfg.Domain, manager), p.hash()
	has := b.state.People[p.ID]
	if has == nil {
		return operation{"POST", "/Users", resource, func(id string, err error) {
			if err != nil {
				done.fail(p.ID, err)
				return
			}
			b.state.People[p.ID] = &account{SCIM: id, Hash: hash, Active: true}
		}}
	}
	return operation{"PUT", "/Users/" + has.SCIM, resource, func(_ string, err error) {
		switch {
		case gone(err):
			// An administrator erased it; the next comparison makes it anew if the person is still there.
			delete(b.state.People, p.ID)
			done.fail(p.ID, err)
		case err != nil:
			done.fail(p.ID, err)
		default:
			has.Hash, has.Active, has.Left = hash, true, nil
		}
	}}
}

func (b *Bridge) bulk(ctx context.Context, what string, operations []operation) error {
	finished := 0
	return b.server.bulk(ctx, operations, func(n int) {
		finished += n
		b.progress(what, finished, len(operations))
	})
}

// applyGroups makes rooms of groups and says who is in them.
func (b *Bridge) applyGroups(ctx context.Context, done *Summary) error {
	var operations []operation
	for i := range done.Groups {
		g := &done.Groups[i]
		o, err := b.putGroup(ctx, g, done)
		if err != nil {
			done.fail(g.ID, err)
			continue
		}
		operations = append(operations, o)
	}
	for _, id := range done.DropGroups {
		operations = append(operations, operation{"DELETE", "/Groups/" + b.state.Groups[id].SCIM, nil, func(_ string, err error) {
			if err != nil && !gone(err) {
				done.fail(id, err)
				return
			}
			delete(b.state.Groups, id)
		}})
	}
	if err := b.bulk(ctx, "groups", operations); err != nil {
		return err
	}
	return b.nest(ctx, done)
}

func (b *Bridge) putGroup(ctx context.Context, g *Group, done *Summary) (operation, error) {
	resource := scimGroup{Schemas: []string{schemaGroup}, ExternalID: g.ID, Display: g.Name, Members: []scimValue{}}
	sent := Group{ID: g.ID, Name: g.Name}
	for _, member := range g.Members {
		// One whose account could not be made is told when there is one.
		if a := b.state.People[member]; a != nil && a.Active {
			resource.Members, sent.Members = append(resource.Members, scimValue{Value: a.SCIM}), append(sent.Members, member)
		}
	}
	sortedMembers(resource.Members)
	has := b.state.Groups[g.ID]
	resource.Schemas = append(resource.Schemas, schemaRoom)
	resource.Room = &scimRoom{Kind: "none"}
	c, roomID := b.cfg.roomOf(g), ""
	if c != nil {
		var err error
		if roomID, err = b.rooms.ensure(ctx, g, c); err != nil {
			return operation{}, err
		}
		resource.Room = &scimRoom{RoomID: roomID}
	}
	if has != nil && has.Room != roomID {
		// The configuration has changed, and the room of a group cannot: the group begins anew.
		if err := b.server.do(ctx, "DELETE", "/Groups/"+has.SCIM, nil, nil); err != nil && !gone(err) {
			return operation{}, err
		}
		delete(b.state.Groups, g.ID)
		has = nil
	}
	o := operation{method: "POST", path: "/Groups", data: resource}
	if has != nil {
		o.method, o.path = "PUT", "/Groups/"+has.SCIM
	}
	o.done = func(id string, err error) {
		if err != nil {
			done.fail(g.ID, err)
			return
		}
		if has != nil {
			id = has.SCIM
		}
		b.state.Groups[g.ID] = &room{SCIM: id, Hash: sent.hash(c), Room: roomID}
	}
	return o, nil
}

// nest hangs the rooms of groups into the spaces that they belong in.
func (b *Bridge) nest(ctx context.Context, done *Summary) error {
	byName := map[string]string{}
	for i := range done.all {
		if has := b.state.Groups[done.all[i].ID]; has != nil {
			byName[done.all[i].Name] = has.Room
		}
	}
	for i := range done.Groups {
		g := &done.Groups[i]
		c := b.cfg.roomOf(g)
		if c == nil || c.In == "" || byName[c.In] == "" || byName[g.Name] == "" {
			continue
		}
		if err := b.rooms.put(ctx, byName[c.In], byName[g.Name]); err != nil {
			done.fail(g.ID, fmt.Errorf("hang the room into the space of %s: %w", c.In, err))
		}
	}
	return ctx.Err()
}

// Check tries the source and the homeserver, and changes nothing.
func (b *Bridge) Check(ctx context.Context) error {
	if err := b.rooms.check(ctx); err != nil {
		return err
	}
	if err := b.server.do(ctx, "GET", "/Users?count=1&startIndex=1", nil, nil); err != nil {
		return fmt.Errorf("list accounts (does the registration have the grant people?): %w", err)
	}
	_, err := b.source.Read(ctx, "")
	return err
}

// Run syncs until ctx ends. What goes wrong is logged, and tried again.
func (b *Bridge) Run(ctx context.Context) {
	for {
		done, err := b.Sync(ctx, Options{})
		var shrunk *ShrunkError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &shrunk):
			b.log.Error("the guard stopped the bridge", "leavers", shrunk.Leavers, "people", shrunk.Known)
		case err != nil:
			b.log.Error("the directory was not carried over", "error", err)
		case !done.Empty() || len(done.Failed) > 0:
			b.log.Info("the directory was carried over", "created", len(done.Create), "updated", len(done.Update), "unlocked", len(done.Reactivate),
				"locked", len(done.Lock), "erased", len(done.Erase), "groups", len(done.Groups)+len(done.DropGroups), "failed", len(done.Failed), "took", done.Took.Round(time.Millisecond))
		}
		select {
		case <-time.After(b.cfg.Poll):
		case <-ctx.Done():
			return
		}
	}
}

// Print says what was done.
func (s *Summary) Print(w io.Writer) {
	fmt.Fprintf(w, "%d accounts made, %d changed, %d unlocked, %d locked, %d erased; %d groups changed, %d gone; %d failed, %d left out. Took %s.\n",
		len(s.Create), len(s.Update), len(s.Reactivate), len(s.Lock), len(s.Erase), len(s.Groups), len(s.DropGroups), len(s.Failed), len(s.Skipped),
		s.Took.Round(time.Millisecond))
	for _, list := range []struct {
		title string
		list  []Skipped
	}{{"Failed", s.Failed}, {"Left out", s.Skipped}} {
		lines := make([]string, len(list.list))
		for i, f := range list.list {
			lines[i] = f.ID + ": " + f.Reason
		}
		printSome(w, list.title, lines)
	}
}
