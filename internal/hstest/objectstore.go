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
	command func() *exec.Cmd
}

// MinIO starts a MinIO and stops it at the end of the test.
func MinIO(t testing.TB) *ObjectStore {
	t.Helper()
	return startMinIO(t, newObjectStore(t), "")
}

// MinIOWithTLS starts one that speaks TLS, with a certificate of the test's own.
func MinIOWithTLS(t testing.TB) *ObjectStore {
	t.Helper()
	s := newObjectStore(t)
	certificates := t.TempDir()
	s.RootCAs = Certificate(t, filepath.Join(certificates, "public.crt"), filepath.Join(certificates, "private.key"))
	return startMinIO(t, s, certificates)
}

func startMinIO(t testing.TB, s *ObjectStore, certificates string) *ObjectStore {
	t.Helper()
	binary, dir := tool(t, "minio"), t.TempDir()
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
	s.begin(t)
	return s
}

// VersityGW starts a Versity S3 Gateway on a folder, and stops it at the end of the test.
func VersityGW(t testing.TB) *ObjectStore {
	t.Helper()
	s := newObjectStore(t)
	binary, dir := tool(t, "versitygw"), t.TempDir()
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
	s.begin(t)
	return s
}

func newObjectStore(t testing.TB) *ObjectStore {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatalf("hstest: %v", err)
	}
	return &ObjectStore{
		Endpoint: address, Region: "eu-test-1", Bucket: "media-" + strings.ToLower(rand.Text()[:12]),
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
	if err := s.Client(t).MakeBucket(context.Background(), s.Bucket, minio.MakeBucketOptions{Region: s.Region}); err != nil {
		t.Fatalf("hstest: make a bucket: %v\n%s", err, s.logs.tail(8<<10))
	}
}

// Kill9 ends the server at once, as a crash would.
func (s *ObjectStore) Kill9(t testing.TB) {
	t.Helper()
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
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
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
