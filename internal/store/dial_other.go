//go:build !linux

package store

import "syscall"

// setUserTimeout does nothing where there is no such option; the keep-alive probes find a dead peer all the same, later.
func setUserTimeout(string, string, syscall.RawConn) error { return nil }

// waitInThread does nothing: it only saves time.
func (c *boundedConn) waitInThread() error { return nil }
