// Package signing keeps the Ed25519 keys of the domains that this server hosts.
//
// Spec: server-server v1.19 §publishing-keys, §signing-events; appendices v1.19 §signing-details
//
// What holds:
//   - Each hosted domain has exactly one current key. Two processes that start at once on an empty database end with the same one. A domain
//     that an organisation gets while processes run is known to all of them within a second.
//   - A private key is in the database in sealed form only, under a key of the configuration that the database does not know. A
//     copy of the database signs nothing.
//   - A key that was replaced is published as an old one for ever, so that events it signed can still be verified; its private half is
//     gone.
//
// Start reading at [Open].
package signing

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// ReloadInterval is how often Run looks for keys that another process rotated.
const ReloadInterval = time.Minute

// expiryMargin is how long after a rotation the old key counts as valid.
//
// Why: other processes sign with it until they have looked again, and what they sign then must not be refused elsewhere.
const expiryMargin = 3 * ReloadInterval

// Config is what Open needs.
type Config struct {
	Store *store.Store
	// Domains that the configuration names. The first one is the server's own name. Those that are hosted_domains of the database come to
	// them.
	Domains []matrix.ServerName
	// Journal says when an organisation got a domain; nil leaves it to ReloadInterval.
	Journal *journal.Journal
	// SealKey encrypts private keys in the database.
	SealKey [32]byte
	Rand    io.Reader
	Clock   matrix.Clock
	// Log gets the failures of Run; slog.Default if nil.
	Log *slog.Logger
}

// Keys are the signing keys of all hosted domains. It is safe for concurrent use; reading takes no lock.
type Keys struct {
	cfg     Config
	current atomic.Pointer[keySet]
	// changed says that there may be new domains.
	changed chan struct{}
	// reload is held from reading the keys until they are in use, so that an older reading does not replace a newer one.
	reload sync.Mutex
}

// keySet does not change once it is published.
type keySet struct {
	domains []matrix.ServerName // the server's own name first
	keys    map[matrix.ServerName]*domainKeys
}

// domainKeys does not change once it is published.
type domainKeys struct {
	keyID   string
	private ed25519.PrivateKey
	public  []PublicKey // the current key first
}

// PublicKey is a key that others verify our signatures with.
type PublicKey struct {
	KeyID string
	Key   ed25519.PublicKey
	// ExpiredTS is 0 for the current key.
	ExpiredTS matrix.Timestamp
}

// Open reads the keys of all hosted domains and makes those that are missing. It fails when a key in the database was sealed with another
// seal key.
func Open(ctx context.Context, cfg Config) (*Keys, error) {
	if len(cfg.Domains) == 0 {
		return nil, errors.New("signing: no hosted domains")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	k := &Keys{cfg: cfg, changed: make(chan struct{}, 1)}
	if cfg.Journal != nil {
		cfg.Journal.Observe(k.observe)
	}
	return k, k.Reload(ctx)
}

// observe has Run look for new domains.
func (k *Keys) observe(entries []journal.Entry, lost bool) {
	for i := range entries {
		lost = lost || entries[i].Update != nil && entries[i].Update.Kind == store.KindOrganisation
	}
	if lost {
		select {
		case k.changed <- struct{}{}:
		default:
		}
	}
}

// complete reads all keys, and makes those that are missing.
func (k *Keys) complete(ctx context.Context) (*keySet, error) {
	loaded, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	made := false
	for _, domain := range loaded.domains {
		if loaded.keys[domain] != nil {
			continue
		}
		key, err := k.NewKey(domain)
		if err != nil {
			return nil, err
		}
		if err := k.cfg.Store.InsertSigningKey(ctx, key); err != nil {
			return nil, fmt.Errorf("signing: store the key of %s: %w", domain, err)
		}
		made = true
	}
	if made {
		// Another process may have been faster; what the database has now holds for both.
		if loaded, err = k.load(ctx); err != nil {
			return nil, err
		}
	}
	for _, domain := range loaded.domains {
		if loaded.keys[domain] == nil {
			return nil, fmt.Errorf("signing: %s has no current key", domain)
		}
	}
	return loaded, nil
}

// listDomains are the domains of the configuration, then the others that are hosted.
func (k *Keys) listDomains(ctx context.Context) ([]matrix.ServerName, error) {
	hosted, err := k.cfg.Store.ListHostedDomains(ctx)
	if err != nil {
		return nil, fmt.Errorf("signing: list the hosted domains: %w", err)
	}
	domains := slices.Clone(k.cfg.Domains)
	for _, d := range hosted {
		if !slices.Contains(k.cfg.Domains, d.ServerName) {
			domains = append(domains, d.ServerName)
		}
	}
	return domains, nil
}

// load reads all keys. A domain without a current key is not in the result.
func (k *Keys) load(ctx context.Context) (*keySet, error) {
	domains, err := k.listDomains(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := k.cfg.Store.ListSigningKeys(ctx, domains)
	if err != nil {
		return nil, fmt.Errorf("signing: read keys: %w", err)
	}
	all := make(map[matrix.ServerName]*domainKeys, len(domains))
	old := make(map[matrix.ServerName][]PublicKey)
	for _, row := range rows {
		public := PublicKey{KeyID: row.KeyID, Key: row.PublicKey, ExpiredTS: row.ExpiredTS}
		if len(row.PublicKey) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("signing: public key %s of %s in the database has %d bytes", row.KeyID, row.ServerName, len(row.PublicKey))
		}
		if row.ExpiredTS != 0 {
			old[row.ServerName] = append(old[row.ServerName], public)
			continue
		}
		private, err := k.open(row)
		if err != nil {
			return nil, err
		}
		all[row.ServerName] = &domainKeys{keyID: row.KeyID, private: private, public: []PublicKey{public}}
	}
	for domain, keys := range all {
		keys.public = append(keys.public, old[domain]...)
	}
	return &keySet{domains: domains, keys: all}, nil
}

// NewKey makes a key for a domain. It is in use when it is stored as the domain's current key.
func (k *Keys) NewKey(domain matrix.ServerName) (store.SigningKey, error) {
	var seed [ed25519.SeedSize]byte
	var version [6]byte
	if _, err := io.ReadFull(k.cfg.Rand, seed[:]); err != nil {
		return store.SigningKey{}, fmt.Errorf("signing: make a key for %s: %w", domain, err)
	}
	if _, err := io.ReadFull(k.cfg.Rand, version[:]); err != nil {
		return store.SigningKey{}, fmt.Errorf("signing: make a key for %s: %w", domain, err)
	}
	private := ed25519.NewKeyFromSeed(seed[:])
	key := store.SigningKey{
		ServerName: domain,
		KeyID:      "ed25519:" + hex.EncodeToString(version[:]),
		PublicKey:  private.Public().(ed25519.PublicKey),
		CreatedTS:  matrix.TimestampOf(k.cfg.Clock.Now()),
	}
	var err error
	key.PrivateKeySealed, err = k.seal(domain, key.KeyID, seed[:])
	return key, err
}

// Rotate gives the domain a new key. The old one is published as expired. Other processes notice within ReloadInterval.
func (k *Keys) Rotate(ctx context.Context, domain matrix.ServerName) error {
	keys := k.current.Load().keys[domain]
	if keys == nil {
		return fmt.Errorf("signing: %s is not hosted here", domain)
	}
	key, err := k.NewKey(domain)
	if err != nil {
		return err
	}
	expired := matrix.TimestampOf(k.cfg.Clock.Now().Add(expiryMargin))
	if err := k.cfg.Store.PutSigningKey(ctx, keys.keyID, expired, key); err != nil {
		return fmt.Errorf("signing: store the new key of %s: %w", domain, err)
	}
	return k.Reload(ctx)
}

// Reload reads domains and keys again. When that fails, those that are known stay in use.
func (k *Keys) Reload(ctx context.Context) error {
	k.reload.Lock()
	defer k.reload.Unlock()
	loaded, err := k.complete(ctx)
	if err != nil {
		return err
	}
	k.current.Store(loaded)
	return nil
}

// Run reloads the keys when there may be new domains, and now and then, until ctx ends.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(ReloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.changed:
		case <-tick.C:
		}
		if err := k.Reload(ctx); err != nil && ctx.Err() == nil {
			k.cfg.Log.Error("signing keys were not reloaded", "error", err)
			k.retry(ctx)
		}
	}
}

// retry has Run try again after a second.
func (k *Keys) retry(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
		k.observe(nil, true)
	}
}

// Current is the key that the domain signs with. A domain that is not hosted here has none: "" and nil.
func (k *Keys) Current(domain matrix.ServerName) (keyID string, private ed25519.PrivateKey) {
	keys := k.current.Load().keys[domain]
	if keys == nil {
		return "", nil
	}
	return keys.keyID, keys.private
}

// SignJSON adds the signature of a domain's present key to canonical JSON.
//
// Spec: appendices v1.19 §signing-json
func (k *Keys) SignJSON(domain matrix.ServerName, canonical []byte) ([]byte, error) {
	if !k.IsLocal(domain) {
		return nil, fmt.Errorf("no signing key: %s is not hosted here", domain)
	}
	keyID, private := k.Current(domain)
	return gomatrixserverlib.SignJSON(string(domain), gomatrixserverlib.KeyID(keyID), private, canonical)
}

// VerifyKeys are the public keys of the domain: the current one, then those that it used before.
func (k *Keys) VerifyKeys(domain matrix.ServerName) []PublicKey {
	keys := k.current.Load().keys[domain]
	if keys == nil {
		return nil
	}
	return keys.public
}

// IsLocal says whether the domain is hosted here.
func (k *Keys) IsLocal(domain matrix.ServerName) bool {
	return k.current.Load().keys[domain] != nil
}

// Domains are the hosted domains, the server's own name first.
func (k *Keys) Domains() []matrix.ServerName { return slices.Clone(k.current.Load().domains) }
