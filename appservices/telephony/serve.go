package telephony

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/roomline/roomline/internal/limits"
)

// Handler is what the server asks the bridge: it tells of events, for the bot, and whether it is there.
//
// Spec: application-service v1.19 §pushing-events, §pinging
func (b *Bridge) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /_matrix/app/v1/transactions/{txnId}", b.authorised((&transactions{b: b}).put))
	mux.HandleFunc("POST /_matrix/app/v1/ping", b.authorised(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, "", "") }))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusNotFound, "M_UNRECOGNIZED", "unrecognised request")
	})
	return mux
}

func answerJSON(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body := map[string]string{}
	if code != "" {
		body["errcode"], body["error"] = code, message
	}
	text, _ := json.Marshal(body) // of strings
	_, _ = w.Write(text)
}

// authorised lets the server through alone.
//
// Spec: application-service v1.19 §authorisation
func (b *Bridge) authorised(next http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(b.cfg.HSToken))
	return func(w http.ResponseWriter, r *http.Request) {
		token, given := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		have := sha256.Sum256([]byte(token))
		switch {
		case !given:
			answerJSON(w, http.StatusUnauthorized, "M_UNAUTHORIZED", "the hs_token is missing")
		case b.cfg.HSToken == "" || subtle.ConstantTimeCompare(have[:], want[:]) == 0:
			answerJSON(w, http.StatusForbidden, "M_FORBIDDEN", "this is not the hs_token")
		default:
			next(w, r)
		}
	}
}

// transactions takes one at a time. The server tells the next one when the last was acknowledged, and the last one again if the answer was
// lost: it is remembered.
type transactions struct {
	b    *Bridge
	mu   sync.Mutex
	last string
}

func (t *transactions) put(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4*limits.AppserviceTransactionBytes))
	if err != nil {
		answerJSON(w, http.StatusRequestEntityTooLarge, "M_TOO_LARGE", "the transaction is too large")
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id := r.PathValue("txnId")
	if t.last != id && t.b.cfg.Events != nil {
		if err := t.b.cfg.Events(r.Context(), body); err != nil {
			t.b.cfg.Log.Warn("telephony: events are not taken; they will be told again", "error", err)
			answerJSON(w, http.StatusServiceUnavailable, "M_UNKNOWN", "try again")
			return
		}
	}
	t.last = id
	answerJSON(w, http.StatusOK, "", "")
}
