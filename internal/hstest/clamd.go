package hstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// ClamdStreamMax is the StreamMaxLength of a Clamd.
const ClamdStreamMax = 2 << 20

// ClamdSignature is what a Clamd finds in EICAR.
const ClamdSignature = "Roomline.EICAR.UNOFFICIAL"

// EICAR is the file that every scanner finds and that harms nobody. It is put together here, so that no scanner finds this source.
func EICAR() string {
	return `X5O!P%@AP[4\PZX54(P^)7CC)7}` + `$EICAR-STANDARD-ANTIVIRUS-TEST-` + `FILE!$H+H*`
}

// ClamdDaemon is a clamd of the test's own that knows one signature.
type ClamdDaemon struct {
	TCP  string // host:port
	Unix string // unix:/path

	program
	command func() *exec.Cmd
}

// Clamd starts a clamd and stops it at the end of the test.
func Clamd(t testing.TB) *ClamdDaemon {
	t.Helper()
	binary, err := exec.LookPath("clamd")
	if err != nil {
		binary = "/usr/sbin/clamd" // in nobody's path
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatal("hstest: clamd is missing: install it (Debian: apt-get install clamav-daemon clamav)")
	}
	address, err := freeport.Address()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	// Not t.TempDir: its path is too long for a socket.
	dir, err := os.MkdirTemp("", "roomline-clamd-")
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	d := &ClamdDaemon{TCP: address, Unix: "unix:" + filepath.Join(dir, "socket")}
	config := filepath.Join(dir, "clamd.conf")
	if err := d.configure(dir, config); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	d.command = func() *exec.Cmd { return exec.Command(binary, "--config-file", config) }
	t.Cleanup(func() {
		_ = d.kill()
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("hstest: log of clamd:\n%s", d.logs.tail(16<<10))
		}
	})
	d.Restart(t)
	return d
}

func (d *ClamdDaemon) configure(dir, config string) error {
	database := filepath.Join(dir, "database")
	host, port, err := net.SplitHostPort(d.TCP)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Foreground yes\nDatabaseDirectory %s\nLocalSocket %s\nTCPAddr %s\nTCPSocket %s\nStreamMaxLength %d\nFixStaleSocket yes\nMaxThreads 4\n",
		database, strings.TrimPrefix(d.Unix, "unix:"), host, port, ClamdStreamMax)
	name, _ := strings.CutSuffix(ClamdSignature, ".UNOFFICIAL")
	return errors.Join(
		os.Mkdir(database, 0o755),
		os.WriteFile(filepath.Join(database, "test.ndb"), fmt.Appendf(nil, "%s:0:*:%x\n", name, EICAR()), 0o644),
		os.WriteFile(config, []byte(text), 0o644))
}

// Kill9 ends the daemon at once.
func (d *ClamdDaemon) Kill9(t testing.TB) {
	t.Helper()
	if err := d.kill(); err != nil {
		t.Fatalf("hstest: kill clamd: %v", err)
	}
}

// Restart starts a daemon that is not running and returns when it answers.
func (d *ClamdDaemon) Restart(t testing.TB) {
	t.Helper()
	if err := d.run(d.command()); err != nil {
		t.Fatalf("hstest: start clamd: %v", err)
	}
	d.wait(t, func(ctx context.Context) error {
		var dialer net.Dialer
		for network, address := range map[string]string{"tcp": d.TCP, "unix": strings.TrimPrefix(d.Unix, "unix:")} {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write([]byte("zPING\x00")); err != nil {
				return err
			}
			if _, err := c.Read(make([]byte, 5)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pause lets the daemon do nothing until Resume; its sockets stay open.
func (d *ClamdDaemon) Pause(t testing.TB) { d.signal(t, syscall.SIGSTOP) }

// Resume ends Pause.
func (d *ClamdDaemon) Resume(t testing.TB) { d.signal(t, syscall.SIGCONT) }

func (d *ClamdDaemon) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(d.pid(), s); err != nil {
		t.Fatalf("hstest: signal clamd: %v", err)
	}
}
