package store

import (
	"strings"
	"syscall"
)

// setUserTimeout sets TCP_USER_TIMEOUT, for which package syscall has no name.
func setUserTimeout(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	const tcpUserTimeout = 18
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(peerGone.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
