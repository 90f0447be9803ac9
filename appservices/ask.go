package appservices

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/roomline/roomline/internal/limits"
)

// answer is what an application service answered.
type answer struct {
	status int
	body   []byte
}

// errNoURL says that an application service does not want to be asked.
var errNoURL = errors.New("the application service has no URL")

// ask sends one request to an application service. An error is one of the connection: any answer is an answer. body may be nil.
//
// Spec: application-service v1.19 §homeserver---application-service-api
func (s *Server) ask(ctx context.Context, as *Registration, method, path string, query url.Values, body any) (answer, error) {
	if as.URL == "" {
		return answer{}, errNoURL
	}
	ctx, cancel := context.WithTimeout(ctx, limits.AppserviceAnswer)
	defer cancel()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, fmt.Errorf("encode a request: %w", err)
		}
		reader = bytes.NewReader(text)
	}
	address := as.URL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+as.hsToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, limits.AppserviceBody+1))
	if err == nil && len(text) > limits.AppserviceBody {
		err = fmt.Errorf("the answer has more than %d bytes", limits.AppserviceBody)
	}
	return answer{status: resp.StatusCode, body: text}, err
}

// isTimeout reports whether a request was not answered in time.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// reason is why a request failed, without the address that it went to.
func reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
