package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/mediaapi"
)

// checkMedia compares the database and the media store.
func checkMedia(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	checker := checkerFlags(fs)
	_, cfg, err := c.parseWithConfig(fs, &from, 0)
	if err != nil {
		return err
	}
	return c.withStores(cfg, checker, func(ctx context.Context) error {
		found, err := c.check(ctx, checker)
		if err != nil {
			return err
		}
		if found.Wrong() > 0 {
			return errors.New("database and store do not agree; roomline media repair puts that right")
		}
		return nil
	})
}

// repairMedia removes what nobody needs, and gives up what is lost.
func repairMedia(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	checker := checkerFlags(fs)
	all := fs.Bool("all", false, "go on although more than half of the objects would be lost or removed")
	_, cfg, err := c.parseWithConfig(fs, &from, 0)
	if err != nil {
		return err
	}
	return c.withStores(cfg, checker, func(ctx context.Context) error {
		found, err := c.check(ctx, checker)
		if err != nil {
			return err
		}
		done, err := checker.Repair(ctx, found, *all)
		if errors.Is(err, mediaapi.ErrTooMuch) {
			return fmt.Errorf("%w (--all goes on)", err)
		}
		if done != nil {
			fmt.Fprintf(c.stdout, "removed %d objects; deleted %d media whose content is lost\n", done.Removed, len(done.Lost))
			for _, uri := range done.Lost {
				fmt.Fprintf(c.stdout, "  %s\n", uri)
			}
		}
		return err
	})
}

// checkerFlags are those that both commands know.
func checkerFlags(fs *flag.FlagSet) *mediaapi.Checker {
	c := &mediaapi.Checker{Clock: matrix.SystemClock{}}
	fs.BoolVar(&c.Hash, "hash", false, "read every file, and compare its SHA-256")
	fs.DurationVar(&c.Settled, "older-than", time.Hour, "leave alone what the database does not know if it is younger than this `TIME`")
	return c
}

// withStores runs f with both sides open, beside the server if that is running.
func (c *call) withStores(cfg *config.Config, checker *mediaapi.Checker, f func(context.Context) error) (err error) {
	log := slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := untilSignal(log)
	defer stop()
	db, err := shareDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	checker.Store = db.store
	if checker.Blobs, err = openBlobs(cfg); err != nil {
		return err
	}
	return f(ctx)
}

const (
	// progressEvery is how often a long check says how far it is.
	progressEvery = 5 * time.Second
	// faultsShown is how many objects are named for each fault.
	faultsShown = 20
)

// check checks, and prints what it found.
func (c *call) check(ctx context.Context, checker *mediaapi.Checker) (*mediaapi.Findings, error) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprintf(c.stderr, "%d objects looked at\n", checker.Looked())
			case <-done:
				return
			}
		}
	}()
	found, err := checker.Check(ctx)
	close(done)
	<-ended
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c.stdout, "%d objects in the store (%d bytes), %d in the database\n", found.InStore, found.Bytes, found.InDatabase)
	for _, fault := range mediaapi.Faults {
		keys := found.Keys[fault]
		if len(keys) == 0 {
			continue
		}
		fmt.Fprintf(c.stdout, "%d %s:\n", len(keys), fault)
		for _, key := range keys[:min(len(keys), faultsShown)] {
			fmt.Fprintf(c.stdout, "  %s\n", key)
		}
		if more := len(keys) - faultsShown; more > 0 {
			fmt.Fprintf(c.stdout, "  and %d more\n", more)
		}
	}
	if found.Wrong() == 0 {
		fmt.Fprintln(c.stdout, "nothing is wrong")
	}
	return found, nil
}
