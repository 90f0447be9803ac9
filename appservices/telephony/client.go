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

// client asks the server.
type client struct {
	url, token string
	http       *http.Client
}

// refused is an answer that will not be another one when asked again.
type refused struct {
	status  int
	errcode string
}

func (r *refused) Error() string {
	return fmt.Sprintf("the server answered %d %s", r.status, r.errcode)
}

const (
	// answerBytes bounds an answer: a hundred messages.
	answerBytes = 16 << 20
	// answered is how long the server may take for what it does not wait with.
	answered = 15 * time.Second
)

// post sends a request and decodes the answer.
func (c *client) post(ctx context.Context, path string, request, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return &refused{errcode: err.Error()}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.url, "/")+"/_roomline/telephony/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(r)
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
		if resp.StatusCode == http.StatusBadRequest {
			return &refused{resp.StatusCode, e.ErrCode}
		}
		return fmt.Errorf("the server answered %d %s", resp.StatusCode, e.ErrCode)
	}
	return json.Unmarshal(body, answer)
}

// lease takes at most max messages, and waits for the first.
func (c *client) lease(ctx context.Context, medium string, max int) ([]outbox.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.LeaseWait+answered)
	defer cancel()
	var answer struct {
		Messages []outbox.Message `json:"messages"`
	}
	err := c.post(ctx, "lease", map[string]any{"media": []string{medium}, "max": min(max, limits.LeaseAtOnce), "wait_ms": limits.LeaseWait.Milliseconds()}, &answer)
	return answer.Messages, err
}

// outcome is what the server says to outcomes.
type outcome struct {
	Lost    []int64  `json:"lost"`
	Unknown []string `json:"unknown"`
}

func (c *client) report(ctx context.Context, outcomes ...outbox.Outcome) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	var answer outcome
	err := c.post(ctx, "outcomes", map[string]any{"outcomes": outcomes}, &answer)
	return answer, err
}
