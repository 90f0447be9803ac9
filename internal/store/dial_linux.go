package store

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
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

// waitInThread makes reads of the connection wait in the kernel, for patience at most, and no longer in the runtime's poller. Why: whoever
// waits for one answer and has nothing else to do is spared the way through the poller's thread and back, and the runtime does
// not take the process for idle in between, after which it would wake up by the clock every 20 µs.
func (c *boundedConn) waitInThread() error {
	conn, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	fd := -1
	if err := raw.Control(func(polled uintptr) { fd, failed = blockingCopy(polled, c.patience) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	// The copy has the same socket; closing takes the original from the poller.
	c.Conn.Close()
	c.Conn = threadConn{Conn: c.Conn, file: os.NewFile(uintptr(fd), "database")}
	c.waits = true
	return nil
}

// blockingCopy is another number of the socket, which is made to block.
func blockingCopy(polled uintptr, patience time.Duration) (fd int, err error) {
	syscall.ForkLock.RLock()
	fd, err = syscall.Dup(int(polled))
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, os.NewSyscallError("dup", err)
	}
	limit := syscall.NsecToTimeval(patience.Nanoseconds())
	if err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit); err == nil {
		err = syscall.SetNonblock(fd, false)
	}
	if err != nil {
		syscall.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// threadConn reads and writes in the kernel, and has of net.Conn the rest.
type threadConn struct {
	net.Conn
	file *os.File
}

func (c threadConn) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	return n, c.wrap("read", err)
}

func (c threadConn) Write(p []byte) (int, error) {
	n, err := c.file.Write(p)
	return n, c.wrap("write", err)
}

func (c threadConn) Close() error { return c.file.Close() }

// wrap makes of an error what a connection of package net would return: the driver tells by its type that the connection is gone.
func (c threadConn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.RemoteAddr().Network(), Addr: c.RemoteAddr(), Err: err}
}
