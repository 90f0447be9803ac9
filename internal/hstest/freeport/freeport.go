// Package freeport gives tests ports for the programs that they start.
//
// A port that the system chose for a moment may be somebody's outgoing connection, or another test's, before the program listens on it. These
// ports are outside what the system chooses from, and each is locked in a file until the process that claimed it ends.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Linux chooses from 32768 upwards.
const first, last = 12000, 32000

var (
	mu sync.Mutex
	// claimed are the locks: a file that nobody refers to would be closed, and its port free for others.
	claimed []*os.File
)

// Claim returns a port on which nobody listens, by TCP or UDP, and which no other caller gets while this process lives.
func Claim() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	folder := filepath.Join(os.TempDir(), "roomline-test-ports")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return 0, fmt.Errorf("freeport: %w", err)
	}
	for range 2000 {
		port := first + rand.IntN(last-first)
		lock, err := os.OpenFile(filepath.Join(folder, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return 0, fmt.Errorf("freeport: %w", err)
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil || !free(port) {
			lock.Close()
			continue
		}
		claimed = append(claimed, lock)
		return port, nil
	}
	return 0, fmt.Errorf("freeport: no free port between %d and %d", first, last)
}

// Address is a claimed port on the loopback.
func Address() (string, error) {
	port, err := Claim()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

func free(port int) bool {
	tcp, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	udp.Close()
	return true
}
