//go:build !linux

package blob

// wakeAt does nothing: it only saves time.
func (c *getConn) wakeAt(int) {}
