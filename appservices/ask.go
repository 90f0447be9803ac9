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

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// answer is what an application service answered.
type answer struct {
	status int
	body   []byte
}

// errNoURL says that an application service does not want to be asked.
var errNoURL = errors.New("the application service has no URL")

// ok reports success.
func (a answer) ok() bool { return a.status >= 200 && a.status <= 299 }

// unknown reports that the application service does not know the path, as one of the time before the paths had versions.
//
// Spec: application-service v1.19 §legacy-routes, §unknown-routes
func (a answer) unknown() bool {
	if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
		return false
	}
	code := gjson.GetBytes(a.body, "errcode").String()
	return code == "" || code == string(matrix.ErrUnrecognized)
}

// ask sends one request to an application service. An error is one of the connection: any answer is an answer. body may be nil.
//
// Spec: application-service v1.19 §homeserver---application-service-api
func (s *Server) ask(ctx context.Context, as *Registration, method, path string, query url.Values, body any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.AppserviceAnswer)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return answer{}, fmt.Errorf("encode a request: %w", err)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return s.exchange(ctx, s.cfg.Client, as, method, path, text)
}

// askEither asks at the path of the specification, and at that of earlier drafts if the former is not known.
func (s *Server) askEither(ctx context.Context, as *Registration, path, legacy string, query url.Values) (answer, error) {
	got, err := s.ask(ctx, as, http.MethodGet, path, query, nil)
	if err == nil && got.unknown() {
		return s.ask(ctx, as, http.MethodGet, legacy, query, nil)
	}
	return got, err
}

// exchange sends a request and reads the answer.
func (s *Server) exchange(ctx context.Context, client *http.Client, as *Registration, method, path string, body []byte) (answer, error) {
	if as.inProcess != nil {
		client = as.inProcess.client.Load()
	}
	if as.URL == "" || client == nil {
		return answer{}, errNoURL
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, as.URL+path, reader)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+as.hsToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
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
