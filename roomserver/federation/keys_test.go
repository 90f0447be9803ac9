package federation

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver/signing"
)

var testTime = time.UnixMilli(1_700_000_000_000)

type fixedClock struct{}

func (fixedClock) Now() time.Time { return testTime }

func TestPublishedKeysPassTheLibrarysChecks(t *testing.T) {
	t.Parallel()
	keys, err := signing.Open(t.Context(), signing.Config{Store: storetest.New(t), Domains: []matrix.ServerName{"a.example", "b.example:8448", "c.example"},
		Rand: rand.Reader, Clock: fixedClock{}})
	if err != nil {
		t.Fatal(err)
	}
	former, _ := keys.Current("c.example")
	if err := keys.Rotate(t.Context(), "c.example"); err != nil {
		t.Fatal(err)
	}
	handler := httpapi.New(httpapi.Config{Clock: fixedClock{}}, Routes(keys, nil, fixedClock{}))

	for host, domain := range map[string]spec.ServerName{
		"a.example": "a.example", "A.Example": "a.example", "a.example:8448": "a.example", "b.example:8448": "b.example:8448",
		"c.example:443": "c.example", "matrix.machine.example": "a.example", "[::1]:8448": "a.example",
	} {
		request := httptest.NewRequest(http.MethodGet, "/_matrix/key/v2/server", nil)
		request.Host = host
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			t.Fatalf("%s: status %d: %s", host, answer.Code, answer.Body)
		}
		var published gomatrixserverlib.ServerKeys
		if err := json.Unmarshal(answer.Body.Bytes(), &published); err != nil {
			t.Fatal(err)
		}
		checks, ed25519Keys := gomatrixserverlib.CheckKeys(domain, testTime, published)
		if !checks.AllChecksOK || len(ed25519Keys) != 1 {
			t.Errorf("%s: checks are %+v, keys %v, answer %s", host, checks, ed25519Keys, answer.Body)
		}
		if want := testTime.Add(24 * time.Hour).UnixMilli(); int64(published.ValidUntilTS) != want {
			t.Errorf("%s: valid until %d, want %d", host, published.ValidUntilTS, want)
		}
		old, rotated := published.OldVerifyKeys[gomatrixserverlib.KeyID(former)]
		if rotated != (domain == "c.example") || rotated && (len(old.Key) != 32 || int64(old.ExpiredTS) < testTime.UnixMilli()) {
			t.Errorf("%s: old keys are %v", host, published.OldVerifyKeys)
		}
	}
}
