package sms

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/strictjson"
)

// Gateway sends short messages that it is given by HTTP. docs/sms.md describes the requests.
type Gateway struct {
	URL string
	// Secret signs the requests, ReceiptSecret the gateway's receipts; if it is empty, Secret does.
	Secret, ReceiptSecret string
	// Client reaches what it may reach (internal/outbound).
	Client *http.Client
}

// The headers of signed requests, in both directions.
const (
	timestampHeader = "Roomline-Timestamp" // seconds since 1970
	signatureHeader = "Roomline-Signature" // v1= and HMAC-SHA256 over timestamp, a dot, and the body, in hexadecimal digits
)

// secretLength is the least of a secret.
const secretLength = 16

type gateway struct {
	cfg    Gateway
	all    Config
	report func(context.Context, ...outbox.Outcome) error
}

func newGateway(cfg Gateway, all Config, report func(context.Context, ...outbox.Outcome) error) (*gateway, error) {
	cfg.ReceiptSecret = cmp.Or(cfg.ReceiptSecret, cfg.Secret)
	var errs []error
	if u, err := url.Parse(cfg.URL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		errs = append(errs, errors.New("webhook.url: must be an address of the web"))
	}
	if len(cfg.Secret) < secretLength || len(cfg.ReceiptSecret) < secretLength {
		errs = append(errs, fmt.Errorf("webhook.secret: must have at least %d characters", secretLength))
	}
	if cfg.Client == nil {
		cfg.Client = outbound.New(outbound.Config{})
	}
	return &gateway{cfg: cfg, all: all, report: report}, errors.Join(errs...)
}

// run has nothing to keep.
func (g *gateway) run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// gatewayMessage is what the gateway gets.
type gatewayMessage struct {
	// ID is the same however often the message comes: a gateway sends it once.
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// To is E.164 with a plus.
	To   string `json:"to"`
	From string `json:"from"`
	Text string `json:"text"`
	// Parts is how many short messages it takes, ExpiresTS when it is worth nothing any more (milliseconds), or 0.
	Parts     int              `json:"parts"`
	ExpiresTS matrix.Timestamp `json:"expires_ts"`
}

// gatewayAnswer is what it says, as far as it is of use here. A refusal may have a short word.
type gatewayAnswer struct {
	ID    string
	Error string
}

func (g *gateway) send(ctx context.Context, m *outbox.Message, text string, sending func(reference string) error) (telephony.Handed, error) {
	all := parts(text)
	if len(all) > limits.SMSParts {
		return telephony.Handed{}, &telephony.Refusal{Problem: "too_long"}
	}
	body, err := json.Marshal(gatewayMessage{
		ID: strconv.FormatInt(m.ID, 10), Kind: string(m.Kind), To: "+" + m.Address, From: g.all.Sender, Text: text, Parts: len(all), ExpiresTS: m.ExpiresTS,
	})
	if err != nil {
		return telephony.Handed{}, err
	}
	if err := sending(""); err != nil {
		return telephony.Handed{}, err
	}
	id, err := g.post(ctx, m.ID, body)
	if err != nil {
		return telephony.Handed{}, err
	}
	return telephony.Handed{Reference: gatewayReference(id), Parts: len(all)}, nil
}

func gatewayReference(id string) string {
	if id == "" {
		return ""
	}
	return "hook:" + id[:min(len(id), limits.SMSReference)]
}

// post gives a message to the gateway and returns what it calls it.
func (g *gateway) post(ctx context.Context, id int64, body []byte) (string, error) {
	var left atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { left.Store(true) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", strconv.FormatInt(id, 10))
	timestamp := strconv.FormatInt(g.all.Now().Unix(), 10)
	request.Header.Set(timestampHeader, timestamp)
	request.Header.Set(signatureHeader, sign(g.cfg.Secret, timestamp, body))
	response, err := g.cfg.Client.Do(request)
	if err != nil {
		return "", &telephony.Later{Problem: "no_answer", Unknown: left.Load()}
	}
	text, err := outbound.Read(response, limits.SMSGatewayAnswer)
	if err != nil {
		text = nil // what it says is not known, but its status is
	}
	var answer gatewayAnswer
	answer.read(text)
	if s := response.StatusCode; s >= 200 && s < 300 {
		return answer.ID, nil
	}
	return "", g.refusal(response, answer)
}

// read takes the id, which may be a number, and the word for an error.
func (a *gatewayAnswer) read(text []byte) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if strictjson.Check(text) != nil || decoder.Decode(&fields) != nil {
		return
	}
	switch id := fields["id"].(type) {
	case string:
		a.ID = id
	case json.Number:
		a.ID = id.String()
	}
	a.Error, _ = fields["error"].(string)
}

// problemWord is a word that may stand in a log and before the inviter's eyes.
var problemWord = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// refusal is what an answer other than success means. A wrong secret or address is ours to put right and no fault of the message.
func (g *gateway) refusal(response *http.Response, answer gatewayAnswer) error {
	status := response.StatusCode
	problem := fmt.Sprintf("gateway_%d", status)
	if problemWord.MatchString(answer.Error) {
		problem = answer.Error
	}
	later := &telephony.Later{Problem: problem, After: retryAfter(response, g.all.Now())}
	switch status {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		g.all.Log.Error("sms: the gateway does not know us", "status", status)
		return later
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return later
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		// It may have been taken by what is behind.
		later.Unknown = true
		return later
	}
	if status >= 400 && status < 500 {
		return &telephony.Refusal{Problem: problem}
	}
	return later
}

// retryAfter reads the header, seconds or a date.
func retryAfter(response *http.Response, now time.Time) time.Duration {
	text := response.Header.Get("Retry-After")
	after := time.Duration(0)
	if seconds, err := strconv.Atoi(text); err == nil {
		after = time.Duration(min(seconds, 86400)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), 24*time.Hour)
}

// sign is the signature of a body that was sent at a time.
func sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// signed reports whether the gateway has sent a request, and lately. Whoever has copied one can send it again for some minutes: a receipt twice
// is a receipt.
func (g *gateway) signed(r *http.Request, body []byte) bool {
	timestamp := r.Header.Get(timestampHeader)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	age := g.all.Now().Sub(time.Unix(seconds, 0))
	// While a secret is changed a gateway may send two.
	valid := false
	for signature := range strings.SplitSeq(r.Header.Get(signatureHeader), ",") {
		if hmac.Equal([]byte(strings.TrimSpace(signature)), []byte(sign(g.cfg.ReceiptSecret, timestamp, body))) {
			valid = true
		}
	}
	return valid && age <= limits.SMSSignature && age >= -limits.SMSSignature
}

// ReceiptsPath is where a gateway's receipts come to.
const ReceiptsPath = "/_roomline/telephony/v1/receipts"

func (g *gateway) routes() []httpapi.Route {
	return []httpapi.Route{{Method: "POST", Path: ReceiptsPath, Auth: httpapi.SharedSecret, MaxBody: limits.SMSGatewayReceipts, Handle: g.takeReceipts}}
}

// gatewayReceipt says what became of a message: delivered or failed. Other states are no news.
type gatewayReceipt struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Problem string `json:"problem"`
}

// gatewayReceipts is one receipt, or several.
type gatewayReceipts struct {
	gatewayReceipt
	Receipts []gatewayReceipt `json:"receipts"`
}

// takeReceipts takes receipts of the gateway.
func (g *gateway) takeReceipts(ctx context.Context, c *httpapi.Call) (any, error) {
	if !g.signed(c.Request, c.Body) {
		return nil, matrix.Forbidden("the request is not signed, or was not sent now")
	}
	var request gatewayReceipts
	if err := strictjson.Decode(c.Body, &request); err != nil {
		return nil, err
	}
	if request.ID != "" {
		request.Receipts = append(request.Receipts, request.gatewayReceipt)
	}
	var outcomes []outbox.Outcome
	for _, r := range request.Receipts {
		o := outbox.Outcome{Reference: gatewayReference(r.ID), State: outbox.State(r.State)}
		if r.ID == "" || o.State != outbox.Delivered && o.State != outbox.Failed {
			continue
		}
		if o.State == outbox.Failed {
			o.Problem = "undeliverable"
			if problemWord.MatchString(r.Problem) {
				o.Problem = r.Problem
			}
		}
		outcomes = append(outcomes, o)
	}
	if err := g.report(ctx, outcomes...); err != nil {
		g.all.Log.Warn("sms: receipts of the gateway could not be reported", "error", err)
		return nil, matrix.Unavailable(limits.SMSReport)
	}
	return nil, nil
}
