package blob

import "syscall"

// wakeAt lets reads wait until at least n bytes have come, or the connection ends. They have to be on their way. Why: a server that sends
// an object in many pieces wakes its reader for each, which costs more than copying them.
func (c *getConn) wakeAt(n int) {
	if n >= c.lowWater && n < 2*c.lowWater {
		return
	}
	conn, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n) })
	if err == nil {
		c.lowWater = n
	}
}
