package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

const (
	// directoryPeople are in the customer's directory.
	directoryPeople = 5000
	directoryImport = time.Minute
	directoryQuiet  = 2 * time.Second
)

// directoryBridge has the directory bridge import an LDAP directory, and look at it again when nothing has changed.
func (b *bench) directoryBridge() (figures []figure, err error) {
	dir, err := os.MkdirTemp(b.dir, "directory-")
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "roomline-directory")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/roomline-directory")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build roomline-directory: %w\n%s", err, out)
	}
	address, stop, err := startSlapd(dir)
	if err != nil {
		return nil, err
	}
	defer stop()
	config, err := b.writeDirectoryConfig(dir, address)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, b.server.configure(map[string]any{"appservices": map[string]any{"registrations": []string{}}}))
		_, restartErr := b.server.restart()
		err = errors.Join(err, restartErr)
	}()
	sync := func(want string) (time.Duration, error) {
		began := time.Now()
		out, err := exec.Command(program, "sync", "--config", config).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			return 0, fmt.Errorf("roomline-directory sync: %w\n%s", errors.Join(err, errors.New("not what was expected")), out)
		}
		return time.Since(began), nil
	}
	first, err := sync(fmt.Sprintf("%d accounts made", directoryPeople))
	if err != nil {
		return nil, err
	}
	again, err := sync("0 accounts made, 0 changed")
	if err != nil {
		return nil, err
	}
	return []figure{
		{
			what: fmt.Sprintf("import of %d people from LDAP", directoryPeople), measured: first.Round(time.Millisecond).String(),
			goal: fmt.Sprintf("≤ %s", directoryImport), met: first <= directoryImport,
		},
		{
			what: "the same again, without changes", measured: again.Round(time.Millisecond).String(),
			goal: fmt.Sprintf("≤ %s", directoryQuiet), met: again <= directoryQuiet,
		},
	}, nil
}

// writeDirectoryConfig registers the bridge with the server and writes its configuration.
func (b *bench) writeDirectoryConfig(dir, address string) (string, error) {
	registration, config := filepath.Join(dir, "registration.yaml"), filepath.Join(dir, "directory.yaml")
	err := errors.Join(
		os.WriteFile(registration, []byte(`{id: directory, url: null, as_token: as-token-of-the-bridge, hs_token: hs-token-of-the-bridge, sender_localpart: directory,
			rate_limited: false, namespaces: {}, roomline: {organisation: `+serverName+`, grants: [people]}}`), 0o600),
		os.WriteFile(filepath.Join(dir, "password"), []byte("secret"), 0o600),
		os.WriteFile(config, fmt.Appendf(nil, `homeserver: {url: %q, insecure: true}
registration: registration.yaml
domain: %s
state_file: state.json
source: {ldap: {url: "ldap://%s", insecure: true, bind_dn: "cn=admin,dc=bench", password_file: password, base: "dc=bench"}}
`, "http://"+b.server.address, serverName, address), 0o600),
		b.server.configure(map[string]any{"appservices": map[string]any{"registrations": []string{registration}}}))
	if err == nil {
		_, err = b.server.restart()
	}
	return config, err
}

// startSlapd starts an OpenLDAP server with directoryPeople.
func startSlapd(dir string) (address string, stop func(), err error) {
	if address, err = freeport.Address(); err != nil {
		return "", nil, err
	}
	config, database := filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "slapd")
	err = errors.Join(os.Mkdir(database, 0o700), os.WriteFile(config, fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
sizelimit unlimited
database mdb
suffix "dc=bench"
rootdn "cn=admin,dc=bench"
rootpw secret
directory %s
maxsize 268435456
index objectClass,entryUUID eq
index modifyTimestamp eq
`, database), 0o600))
	if err != nil {
		return "", nil, err
	}
	var ldif bytes.Buffer
	ldif.WriteString("dn: dc=bench\nobjectClass: dcObject\nobjectClass: organization\no: bench\ndc: bench\n\n")
	for i := range directoryPeople {
		fmt.Fprintf(&ldif, "dn: uid=d%05d,dc=bench\nobjectClass: inetOrgPerson\nuid: d%05d\ncn: Person Number %d\nsn: Number%d\nmail: d%05d@bench.example\n"+
			"telephoneNumber: +49 30 9%06d\nmobile: +49 170 8%06d\ndepartmentNumber: Department %d\n\n", i, i, i, i, i, i, i, i%50)
	}
	load := exec.Command("/usr/sbin/slapadd", "-q", "-f", config)
	load.Stdin = &ldif
	if out, err := load.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("slapadd (make slapd installs it): %w\n%s", err, out)
	}
	server := exec.Command("/usr/sbin/slapd", "-f", config, "-h", "ldap://"+address, "-d", "0")
	if err := child.Start(server); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	for range 500 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address, stop, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("slapd does not answer")
}
