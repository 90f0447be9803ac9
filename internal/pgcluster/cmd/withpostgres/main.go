// Withpostgres runs a command with a throw-away PostgreSQL beside it:
//
//	withpostgres [-durable] COMMAND ARGUMENTS...
//
// The command finds the server's URL in ROOMLINE_TEST_DATABASE_URL. The server runs without fsync and in memory if there is
// enough, which only tests may, unless -durable is given (benchmarks). It is gone when the command has ended; the exit code is
// the command's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/roomline/roomline/internal/pgcluster"
)

func main() {
	durable := flag.Bool("durable", false, "keep PostgreSQL's default durability")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpostgres [-durable] COMMAND ARGUMENTS...")
		os.Exit(2)
	}
	code, err := run(*durable, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
	}
	os.Exit(code)
}

func run(durable bool, command []string) (code int, err error) {
	// Ctrl-C reaches the command too, as it is in the same process group; we wait for it and tidy up.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parent := ""
	if !durable {
		sweep(shm)
		parent = inMemory(shm)
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		return 1, err
	}
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{
		Dir:            filepath.Join(dir, "postgres"),
		Log:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		MaxConnections: 1500,
		UnsafeFast:     !durable,
	})
	if err != nil {
		return 1, err
	}
	defer cluster.Stop()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(os.Environ(), "ROOMLINE_TEST_DATABASE_URL="+cluster.DSN("postgres"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
