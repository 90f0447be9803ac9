package pgcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clearLeftovers ends what an earlier run has left in the directory: a server that is still stopping because its parent was
// killed, or the backends of a server that was killed itself. Then postmaster.pid is stale and is removed, because its number
// may by now belong to some other process, in which case PostgreSQL would refuse to start.
//
// We hold the lock of the directory, so whatever runs in it is an orphan.
func (c *Cluster) clearLeftovers() error {
	pidFile := filepath.Join(c.data, "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		text = nil
	} else if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	postmaster, _ := strconv.Atoi(strings.TrimSpace(line))

	deadline := time.Now().Add(fastStop)
	hardDeadline := deadline.Add(immediateStop)
	told := map[int]syscall.Signal{}
	for {
		orphans, err := processesIn(c.data)
		if err != nil {
			return err
		}
		if len(orphans) == 0 {
			break
		}
		if time.Now().After(hardDeadline) {
			return fmt.Errorf("processes %v of an earlier PostgreSQL still work in %s and do not stop", orphans, c.data)
		}
		postmasterLives := false
		for _, pid := range orphans {
			postmasterLives = postmasterLives || pid == postmaster
		}
		for _, pid := range orphans {
			signal := syscall.SIGQUIT
			if postmasterLives && !time.Now().After(deadline) {
				if pid != postmaster {
					continue // it stops its own children
				}
				signal = syscall.SIGINT
			}
			if told[pid] != signal {
				c.opts.Log.Info("stopping a PostgreSQL process of an earlier run", "pid", pid)
				syscall.Kill(pid, signal) // it may have ended meanwhile
				told[pid] = signal
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// processesIn lists the PostgreSQL processes whose working directory is dir: every process of a cluster works in its data
// directory.
func processesIn(dir string) ([]int, error) {
	want, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// A process that has ended, or is not ours, has no readable working directory.
		have, err := os.Stat("/proc/" + name + "/cwd")
		if err != nil || !os.SameFile(want, have) {
			continue
		}
		program, err := os.ReadFile("/proc/" + name + "/comm")
		if err == nil && strings.TrimSpace(string(program)) == "postgres" {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
