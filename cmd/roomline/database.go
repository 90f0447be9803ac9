package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/pgcluster"
	"github.com/roomline/roomline/internal/store"
)

// allowUnsafe is the environment variable that lets the server run on a database that forgets what is committed when the
// machine stops. Tests set it; nobody else should.
const allowUnsafe = "ROOMLINE_ALLOW_UNSAFE_DATABASE"

// database is the store with the private cluster under it, if there is one.
type database struct {
	store   *store.Store
	cluster *pgcluster.Cluster
}

// openDatabase opens the configured database, or the private cluster in the data directory.
func openDatabase(ctx context.Context, cfg *config.Config, log *slog.Logger) (*database, error) {
	url := cfg.Database.URL.Reveal()
	db := &database{}
	if url == "" {
		cluster, err := startCluster(ctx, cfg, log)
		if err != nil {
			return nil, err
		}
		db.cluster, url = cluster, cluster.DSN(pgcluster.Database)
	}
	var err error
	if db.store, err = openStore(ctx, cfg, url); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// shareDatabase is openDatabase for a command that may run beside the server: the private cluster may be running already.
func shareDatabase(ctx context.Context, cfg *config.Config, log *slog.Logger) (*database, error) {
	db, err := openDatabase(ctx, cfg, log)
	if !errors.Is(err, pgcluster.ErrInUse) {
		return db, err
	}
	url, err := pgcluster.Running(clusterDir(cfg), pgcluster.Database)
	if err != nil {
		return nil, err
	}
	st, err := openStore(ctx, cfg, url)
	return &database{store: st}, err
}

func clusterDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "postgres") }

func startCluster(ctx context.Context, cfg *config.Config, log *slog.Logger) (*pgcluster.Cluster, error) {
	if err := makeDataDir(cfg); err != nil {
		return nil, err
	}
	return pgcluster.Start(ctx, pgcluster.Options{Dir: clusterDir(cfg), Log: log, MaxConnections: cfg.Database.PoolSize + 50})
}

func openStore(ctx context.Context, cfg *config.Config, url string) (*store.Store, error) {
	return store.Open(ctx, url, store.Options{
		MaxConns:            cfg.Database.PoolSize,
		ServerName:          cfg.ServerName,
		AllowUnsafeSettings: os.Getenv(allowUnsafe) == "1",
	})
}

func (d *database) close() error {
	var errs []error
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Stop())
	}
	return errors.Join(errs...)
}

// makeDataDir makes the data directory. Every secret in it has a mode of its own; the directory lets the user pass that the
// private PostgreSQL runs as.
func makeDataDir(cfg *config.Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	return nil
}

// sealKey is the key that the signing keys are encrypted with: the configured one, or else the one in the data directory.
// It is made there at the first start, but never when the database has signing keys already, since they could not be read
// with a new one.
func sealKey(ctx context.Context, cfg *config.Config, st *store.Store) (key [32]byte, err error) {
	key, ok, err := cfg.SigningKeys.Bytes()
	if ok || err != nil {
		return key, err
	}
	path := filepath.Join(cfg.DataDir, "signing_keys.encryption_key")
	text, err := os.ReadFile(path)
	if err == nil {
		made := config.SigningKeys{EncryptionKey: config.Secret(strings.TrimSpace(string(text)))}
		if key, _, err = made.Bytes(); err != nil {
			return key, fmt.Errorf("%s: %w", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	existing, err := st.ListSigningKeys(ctx, hostedDomains(cfg))
	if err != nil {
		return key, err
	}
	if len(existing) > 0 {
		return key, fmt.Errorf("the database has signing keys, but the key that they are encrypted with is missing: neither signing_keys.encryption_key is set nor is there %s", path)
	}
	if err := makeDataDir(cfg); err != nil {
		return key, err
	}
	if _, err := rand.Read(key[:]); err != nil {
		return key, err
	}
	err = writeSecret(path, base64.StdEncoding.EncodeToString(key[:])+"\n")
	if errors.Is(err, fs.ErrExist) {
		return sealKey(ctx, cfg, st) // another process was faster
	}
	return key, err
}

// writeSecret writes a new file that only its owner may read. It is on disk, whole, when writeSecret returns.
func writeSecret(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// Link, not rename: the secret of another process that was faster must not be overwritten.
	return os.Link(f.Name(), path)
}

// databaseRestored is for an operator who has put back a copy of the database's files. A restored dump and a recovery to a point in
// time are noticed without it.
func databaseRestored(c *call) error {
	return c.onApp(0, func(ctx context.Context, a *app, _ []string) error {
		if err := a.store.EndKeyEpoch(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.stdout, "one-time keys are dropped; devices will upload new ones")
		return err
	})
}
