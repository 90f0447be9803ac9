package hstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/roomline/roomline/internal/hstest/freeport"
)

// ObjectStore is a server that speaks S3, of the test's own, with an empty bucket.
type ObjectStore struct {
	Endpoint  string // host:port
	Region    string
	Bucket    string
	AccessKey string
	SecretKey string
	// RootCAs is not nil when the server speaks TLS.
	RootCAs *x509.CertPool
	// Domain is what the server's buckets are below when a request names its bucket in the host; MinIO only.
	Domain string
	// KMSKey is the key that SSE-KMS may name; MinIO only.
	KMSKey string

	program
	command func() *exec.Cmd // nil: the server is shared
}

// MinIO starts a MinIO that the test may kill, and stops it at the end of the test.
func MinIO(t testing.TB) *ObjectStore {
	t.Helper()
	s := newObjectStore(t)
	s.useMinIO(t, t.TempDir(), "")
	s.begin(t)
	return s
}

// MinIOWithTLS starts one that speaks TLS, with a certificate of the test's own.
func MinIOWithTLS(t testing.TB) *ObjectStore {
	t.Helper()
	s := newObjectStore(t)
	certificates := t.TempDir()
	s.RootCAs = Certificate(t, filepath.Join(certificates, "public.crt"), filepath.Join(certificates, "private.key"))
	s.useMinIO(t, t.TempDir(), certificates)
	s.begin(t)
	return s
}

func (s *ObjectStore) useMinIO(t testing.TB, dir, certificates string) {
	t.Helper()
	binary := tool(t, "minio")
	s.Domain, s.KMSKey = "s3.hs.test", "hstest"
	s.command = func() *exec.Cmd {
		args := []string{"server", "--quiet", "--address", s.Endpoint}
		if certificates != "" {
			args = append(args, "--certs-dir", certificates)
		}
		cmd := exec.Command(binary, append(args, filepath.Join(dir, "data"))...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey, "MINIO_BROWSER=off",
			"MINIO_UPDATE=off", "MINIO_DOMAIN="+s.Domain, "MINIO_KMS_SECRET_KEY="+s.KMSKey+":aHN0ZXN0LW9iamVjdC1zdG9yZS1rZXktMzItYnl0ZXM=")
		return cmd
	}
}

// VersityGW starts a Versity S3 Gateway on a folder, which the test may kill, and stops it at the end of the test.
func VersityGW(t testing.TB) *ObjectStore {
	t.Helper()
	s := newObjectStore(t)
	s.useVersityGW(t, t.TempDir())
	s.begin(t)
	return s
}

func (s *ObjectStore) useVersityGW(t testing.TB, dir string) {
	t.Helper()
	binary := tool(t, "versitygw")
	for _, name := range []string{"data", "metadata", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatalf("hstest: %v", err)
		}
	}
	s.command = func() *exec.Cmd {
		cmd := exec.Command(binary, "--port", s.Endpoint, "--region", s.Region, "--access", s.AccessKey, "--secret", s.SecretKey, "--quiet",
			"posix", "--sidecar", filepath.Join(dir, "metadata"), "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))
		cmd.Dir, cmd.Env = dir, os.Environ()
		return cmd
	}
}

// sharedStore is a server that all tests of a binary use, each with a bucket of its own. Main ends it.
type sharedStore struct {
	use func(s *ObjectStore, t testing.TB, dir string)

	mu     sync.Mutex
	server *ObjectStore
	dir    string
}

var (
	sharedMinIO     = sharedStore{use: func(s *ObjectStore, t testing.TB, dir string) { s.useMinIO(t, dir, "") }}
	sharedVersityGW = sharedStore{use: (*ObjectStore).useVersityGW}
)

// MinIOBucket is an empty bucket of a MinIO that the tests of the package share, whose TestMain calls Main.
func MinIOBucket(t testing.TB) *ObjectStore {
	t.Helper()
	return sharedMinIO.bucket(t)
}

// VersityGWBucket is an empty bucket of a Versity S3 Gateway that the tests of the package share, whose TestMain calls Main.
func VersityGWBucket(t testing.TB) *ObjectStore {
	t.Helper()
	return sharedVersityGW.bucket(t)
}

func (k *sharedStore) bucket(t testing.TB) *ObjectStore {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server == nil {
		s := newObjectStore(t)
		dir, err := os.MkdirTemp("", "roomline-s3-")
		if err != nil {
			t.Fatalf("hstest: %v", err)
		}
		k.use(s, t, dir)
		s.Restart(t)
		k.server, k.dir = s, dir
	}
	of := k.server
	s := &ObjectStore{
		Endpoint: of.Endpoint, Region: of.Region, Bucket: newBucket(), AccessKey: of.AccessKey, SecretKey: of.SecretKey, Domain: of.Domain, KMSKey: of.KMSKey,
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("hstest: log of the object store:\n%s", of.logs.tail(16<<10))
		}
		// Nobody asks for this bucket any more.
		_ = os.RemoveAll(filepath.Join(k.dir, "data", s.Bucket))
	})
	if err := s.makeBucket(t); err != nil {
		t.Fatalf("hstest: make a bucket: %v\n%s", err, of.logs.tail(8<<10))
	}
	return s
}

// end ends the server, if there is one.
func (k *sharedStore) end() {
	if k.server != nil {
		_ = k.server.kill()
		_ = os.RemoveAll(k.dir)
	}
}

func newBucket() string { return "media-" + strings.ToLower(rand.Text()[:12]) }

func (s *ObjectStore) makeBucket(t testing.TB) error {
	return s.Client(t).MakeBucket(context.Background(), s.Bucket, minio.MakeBucketOptions{Region: s.Region})
}

func newObjectStore(t testing.TB) *ObjectStore {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	return &ObjectStore{
		Endpoint: address, Region: "eu-test-1", Bucket: newBucket(),
		AccessKey: "hstest-access", SecretKey: "hstest-secret-key",
	}
}

// begin starts the server for the first time.
func (s *ObjectStore) begin(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		_ = s.kill()
		if t.Failed() {
			t.Logf("hstest: log of the object store:\n%s", s.logs.tail(16<<10))
		}
	})
	s.Restart(t)
	if err := s.makeBucket(t); err != nil {
		t.Fatalf("hstest: make a bucket: %v\n%s", err, s.logs.tail(8<<10))
	}
}

// Kill9 ends the server at once, as a crash would.
func (s *ObjectStore) Kill9(t testing.TB) {
	t.Helper()
	if s.command == nil {
		t.Fatal("hstest: other tests use this object store: start one for the test")
	}
	if err := s.kill(); err != nil {
		t.Fatalf("hstest: kill the object store: %v", err)
	}
}

// Restart starts a server that is not running and returns when it answers. Its address stays the same.
func (s *ObjectStore) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(s.command()); err != nil {
		t.Fatalf("hstest: start the object store: %v", err)
	}
	client := s.Client(t)
	s.wait(t, func(ctx context.Context) error {
		_, err := client.ListBuckets(ctx)
		return err
	})
}

// wait waits until a program that was started answers.
func (p *program) wait(t testing.TB, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-p.done:
			err = errors.Join(errors.New("it has ended"), err)
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			continue
		}
		t.Fatalf("hstest: %s does not answer: %v\n%s", p.cmd.Path, err, p.logs.tail(8<<10))
	}
}

// Client looks into the bucket past the server under test.
func (s *ObjectStore) Client(t testing.TB) *minio.Client {
	t.Helper()
	transport, err := minio.DefaultTransport(s.RootCAs != nil)
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	if s.RootCAs != nil {
		transport.TLSClientConfig.RootCAs = s.RootCAs
	}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := minio.New(s.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: s.RootCAs != nil, Region: s.Region, MaxRetries: 1,
		BucketLookup: minio.BucketLookupPath, Transport: http.RoundTripper(transport),
	})
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	return client
}

// tool is the path of a program that make builds into bin/.
func tool(t testing.TB, name string) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", "..", "bin", name)
	if _, err := os.Stat(path); !ok || err != nil {
		t.Fatalf("hstest: bin/%s is missing: make bin/%s", name, name)
	}
	return path
}

// Certificate makes a certificate for 127.0.0.1 that is its own authority.
func Certificate(t testing.TB, certificate, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hstest"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	err = errors.Join(os.WriteFile(certificate, text, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}
