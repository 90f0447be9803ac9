// Package child starts programs that must not outlive this one.
//
// Linux sends a child the signal of SysProcAttr.Pdeathsig when the thread ends that started it, not the process, and Go ends
// threads as it likes: a child started from any goroutine is struck now and then although its parent lives. So all children
// are started by one goroutine that owns its thread and never ends.
package child

import (
	"os/exec"
	"runtime"
	"sync"
)

type order struct {
	cmd     *exec.Cmd
	started chan error
}

var starter = sync.OnceValue(func() chan<- order {
	orders := make(chan order)
	go func() {
		runtime.LockOSThread()
		for o := range orders {
			o.started <- o.cmd.Start()
		}
	}()
	return orders
})

// Start is cmd.Start for a command whose SysProcAttr has a Pdeathsig. The signal comes when this process ends, and not before.
func Start(cmd *exec.Cmd) error {
	o := order{cmd, make(chan error, 1)}
	starter() <- o
	return <-o.started
}
