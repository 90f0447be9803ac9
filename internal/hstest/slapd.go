package hstest

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// SlapdSuffix is where the tree of a Slapd begins.
const SlapdSuffix = "dc=customer,dc=test"

// SlapdServer is an OpenLDAP server of the test's own, which speaks TLS only.
type SlapdServer struct {
	URL     string // ldaps://host:port
	RootCAs *x509.CertPool
	CAFile  string
	// Admin may write; Reader may read, page by page.
	Admin, Reader, Password string

	address string
	program
	command func() *exec.Cmd
}

// Slapd starts one with the entries of an LDIF, and stops it at the end of the test.
func Slapd(t testing.TB, ldif []byte) *SlapdServer {
	t.Helper()
	for _, binary := range []string{"/usr/sbin/slapd", "/usr/sbin/slapadd"} {
		if _, err := os.Stat(binary); err != nil {
			t.Fatalf("hstest: %s is missing: install it (Debian: apt-get install slapd)", binary)
		}
	}
	address, err := freeport.Address()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	dir := t.TempDir()
	s := &SlapdServer{
		URL: "ldaps://" + address, CAFile: filepath.Join(dir, "cert.pem"), address: address,
		Admin: "cn=admin," + SlapdSuffix, Reader: "cn=reader," + SlapdSuffix, Password: "slapd-password",
	}
	s.RootCAs = Certificate(t, s.CAFile, filepath.Join(dir, "key.pem"))
	config := filepath.Join(dir, "slapd.conf")
	if err := s.configure(dir, config); err != nil {
		t.Fatalf("hstest: %v", err)
	}
	base := fmt.Sprintf("dn: %s\nobjectClass: dcObject\nobjectClass: organization\no: customer\ndc: customer\n\n"+
		"dn: %s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: %s\n\n", SlapdSuffix, s.Reader, s.Password)
	load := exec.Command("/usr/sbin/slapadd", "-q", "-f", config)
	load.Stdin = bytes.NewReader(append([]byte(base), ldif...))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("hstest: slapadd: %v\n%s", err, out)
	}
	s.command = func() *exec.Cmd {
		return exec.Command("/usr/sbin/slapd", "-f", config, "-h", s.URL, "-d", "0")
	}
	t.Cleanup(func() {
		_ = s.kill()
		if t.Failed() {
			t.Logf("hstest: log of slapd:\n%s", s.logs.tail(16<<10))
		}
	})
	s.Restart(t)
	return s
}

func (s *SlapdServer) configure(dir, config string) error {
	database := filepath.Join(dir, "database")
	if err := os.Mkdir(database, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
sizelimit size.soft=500 size.hard=500 size.pr=1000 size.prtotal=unlimited
database mdb
suffix "%[2]s"
rootdn "%[3]s"
rootpw %[4]s
directory %[5]s
maxsize 268435456
index objectClass,entryUUID,uid eq
index modifyTimestamp eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="%[6]s" read by anonymous auth by * none
`, dir, SlapdSuffix, s.Admin, s.Password, database, s.Reader)
	return os.WriteFile(config, []byte(text), 0o600)
}

// Stop ends the server, as when the customer's directory is away.
func (s *SlapdServer) Stop(t testing.TB) {
	t.Helper()
	if err := s.kill(); err != nil {
		t.Fatalf("hstest: %v", err)
	}
}

// Restart starts the server and waits until it answers.
func (s *SlapdServer) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(s.command()); err != nil {
		t.Fatalf("hstest: start slapd: %v", err)
	}
	s.wait(t, func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}
