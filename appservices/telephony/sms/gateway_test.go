package sms

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/outbox"
)

const gatewaySecret = "a secret of the gateway's"

// gatewayOf is a transport to a gateway that answers as it is told.
func gatewayOf(t *testing.T, answer http.HandlerFunc) (*connected, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	transport, err := New(Config{Sender: "Roomline", Log: slog.New(slog.DiscardHandler), Gateway: &Gateway{
		URL: server.URL + "/send", Secret: gatewaySecret, ReceiptSecret: gatewaySecret + "2",
		Client: outbound.New(outbound.Config{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 20 * time.Second}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	receipts := httptest.NewServer(httpapi.New(httpapi.Config{Log: slog.New(slog.DiscardHandler)}, transport.Routes()))
	t.Cleanup(receipts.Close)
	return start(t, transport), receipts
}

func TestGatewayGetsASignedMessage(t *testing.T) {
	t.Parallel()
	var got atomic.Pointer[gatewayMessage]
	c, _ := gatewayOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		timestamp := r.Header.Get("Roomline-Timestamp")
		if at, err := strconv.ParseInt(timestamp, 10, 64); err != nil || time.Since(time.Unix(at, 0)) > time.Minute ||
			r.Header.Get("Roomline-Signature") != sign(gatewaySecret, timestamp, body) || r.Header.Get("Idempotency-Key") != "7" || r.URL.Path != "/send" {
			t.Errorf("%+v", r.Header)
		}
		var m gatewayMessage
		if err := json.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		got.Store(&m)
		_, _ = w.Write([]byte(`{"id":"4c1a","cost":0.02}`))
	})
	m := numbered(7, "32470123456")
	handed := c.mustGive(m)
	want := gatewayMessage{ID: "7", Kind: "invitation", To: "+32470123456", From: "Roomline", Text: mustRender(t, m), Parts: 1}
	if handed.Reference != "hook:4c1a" || handed.Parts != 1 || *got.Load() != want {
		t.Errorf("%+v %+v", handed, got.Load())
	}
}

// The example of docs/sms.md, which is what openssl says.
func TestSignature(t *testing.T) {
	t.Parallel()
	if got := sign("0123456789abcdef", "1796130000", []byte(`{"id":"7"}`)); got != "v1=be5298d913d389c1d76874dfcfd018387d17491ea17832e58f44fa1a9d85a2ef" {
		t.Error(got)
	}
}

func TestAnswersOfTheGateway(t *testing.T) {
	t.Parallel()
	type answer struct {
		status      int
		retry, body string
	}
	var next atomic.Pointer[answer]
	c, _ := gatewayOf(t, func(w http.ResponseWriter, r *http.Request) {
		a := next.Load()
		if a.retry != "" {
			w.Header().Set("Retry-After", a.retry)
		}
		if a.status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	})
	for _, w := range []struct {
		answer
		refused, later string
		unknown        bool
		after          time.Duration
	}{
		{answer: answer{400, "", `{"error":"invalid_number"}`}, refused: "invalid_number"},
		{answer: answer{422, "", `{"error":"Number +32470123456 is bad"}`}, refused: "gateway_422"},
		{answer: answer{403, "", `<html>`}, refused: "gateway_403"},
		{answer: answer{401, "", `{}`}, later: "gateway_401"},
		{answer: answer{404, "", ``}, later: "gateway_404"},
		{answer: answer{429, "17", ``}, later: "gateway_429", after: 17 * time.Second},
		{answer: answer{503, "999999999", ``}, later: "gateway_503", after: 24 * time.Hour},
		{answer: answer{503, "-5", ``}, later: "gateway_503"},
		{answer: answer{500, "", ``}, later: "gateway_500", unknown: true},
		{answer: answer{502, "", ``}, later: "gateway_502", unknown: true},
		{answer: answer{302, "", ``}, later: "gateway_302"},
		{answer: answer{0, "", ``}, later: "no_answer", unknown: true},
	} {
		next.Store(&w.answer)
		_, told, err := c.give(numbered(1, "32470123456"))
		l := later(err)
		if told != 1 || refused(err) != w.refused || (l != nil) != (w.later != "") || l != nil && (l.Problem != w.later || l.Unknown != w.unknown || l.After != w.after) {
			t.Errorf("%d: %v, %+v", w.status, err, l)
		}
	}
	// Ids are what a gateway likes.
	for body, want := range map[string]string{`{"id":17}`: "hook:17", `{"id":"x"}`: "hook:x", `{}`: "", `sent`: "", ``: ""} {
		next.Store(&answer{202, "", body})
		if handed := c.mustGive(numbered(1, "32470123456")); handed.Reference != want {
			t.Errorf("%s: %+v", body, handed)
		}
	}
}

func TestGatewayInsideTheNetworkIsNotReached(t *testing.T) {
	t.Parallel()
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	transport, err := New(Config{Sender: "Roomline", Log: slog.New(slog.DiscardHandler), Gateway: &Gateway{URL: server.URL, Secret: gatewaySecret}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = transport.Send(t.Context(), numbered(1, "32470123456"), func(string) error { return nil })
	if l := later(err); l == nil || l.Unknown || reached {
		t.Errorf("%v, reached: %v", err, reached)
	}
}

func TestSignedReceipts(t *testing.T) {
	t.Parallel()
	c, receipts := gatewayOf(t, func(http.ResponseWriter, *http.Request) {})
	send := func(secret string, at time.Time, body, signed string) int {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, receipts.URL+ReceiptsPath, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		timestamp := strconv.FormatInt(at.Unix(), 10)
		req.Header.Set(timestampHeader, timestamp)
		req.Header.Set(signatureHeader, sign(secret, timestamp, []byte(signed)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	now, right := time.Now(), gatewaySecret+"2"
	body := `{"id":"4c1a","state":"delivered"}`
	for name, got := range map[string]int{
		"another secret": send(gatewaySecret, now, body, body),
		"another body":   send(right, now, body, `{"id":"4c1b","state":"delivered"}`),
		"old":            send(right, now.Add(-6*time.Minute), body, body),
		"early":          send(right, now.Add(6*time.Minute), body, body),
	} {
		if got != http.StatusForbidden {
			t.Errorf("%s: %d", name, got)
		}
	}
	resp, err := http.Post(receipts.URL+ReceiptsPath, "application/json", strings.NewReader(body))
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("unsigned: %v %v", resp, err)
	}
	resp.Body.Close()
	if len(c.got("hook:4c1a")) != 0 {
		t.Fatal("a forged receipt was taken")
	}
	if got := send(right, now.Add(-4*time.Minute), body, body); got != http.StatusOK || c.await("hook:4c1a").State != outbox.Delivered {
		t.Errorf("%d", got)
	}
	several := `{"receipts":[{"id":"a","state":"failed","problem":"absent"},{"id":"b","state":"failed","problem":"Call +32 900"},{"id":"c","state":"buffered"},{"id":"d","state":"delivered"}]}`
	if got := send(right, now, several, several); got != http.StatusOK || c.await("hook:a").Problem != "absent" || c.await("hook:b").Problem != "undeliverable" || c.await("hook:d").State != outbox.Delivered {
		t.Errorf("%d %+v", got, c.receipts)
	}
	if len(c.got("hook:c")) != 0 {
		t.Error("a state that is no end was reported")
	}
	// When the server does not hear it the gateway is told, and sends it again.
	c.hear(false)
	if got := send(right, now, body, body); got != http.StatusServiceUnavailable {
		t.Errorf("%d", got)
	}
}
