package telephony

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/outbox"
)

// Client asks the server for what is the bridge's (/_roomline/telephony/v1). It is safe for concurrent use.
type Client struct {
	// URL is the server's, Token the bridge's as_token.
	URL, Token string
	HTTP       *http.Client
}

// Refused is an answer of the server that is no success.
type Refused struct {
	Status int
	// ErrCode is empty for what is no Matrix error.
	ErrCode string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("the server answered %d %s", r.Status, r.ErrCode)
}

// Final reports whether the answer will be no other one when asked again.
func (r *Refused) Final() bool { return r.Status == http.StatusBadRequest }

const (
	// answerBytes bounds an answer: a hundred messages.
	answerBytes = 16 << 20
	// answered is how long the server may take for what it does not wait with.
	answered = 15 * time.Second
)

// Post sends a request and decodes the answer, if there is somewhere to put it. An answer that is no success is a *Refused.
func (c *Client) Post(ctx context.Context, path string, request, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+"/_roomline/telephony/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes+1))
	if err != nil {
		return err
	}
	if len(body) > answerBytes {
		return errors.New("the server's answer is too long")
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			ErrCode string `json:"errcode"`
		}
		_ = json.Unmarshal(body, &e) // what is no Matrix error has no errcode
		return &Refused{resp.StatusCode, e.ErrCode}
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(body, answer)
}

// lease takes at most max messages, and waits for the first.
func (c *Client) lease(ctx context.Context, medium string, max int) ([]outbox.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.LeaseWait+answered)
	defer cancel()
	var answer struct {
		Messages []outbox.Message `json:"messages"`
	}
	err := c.Post(ctx, "lease", map[string]any{"media": []string{medium}, "max": min(max, limits.LeaseAtOnce), "wait_ms": limits.LeaseWait.Milliseconds()}, &answer)
	return answer.Messages, err
}

// outcome is what the server says to outcomes.
type outcome struct {
	Lost    []int64  `json:"lost"`
	Unknown []string `json:"unknown"`
}

func (c *Client) report(ctx context.Context, outcomes ...outbox.Outcome) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	var answer outcome
	err := c.Post(ctx, "outcomes", map[string]any{"outcomes": outcomes}, &answer)
	return answer, err
}
